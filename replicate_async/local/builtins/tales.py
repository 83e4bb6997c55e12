"""Three tales, from which the storyteller learns."""

from __future__ import annotations

from typing import Final

TALES: Final = """\
Once upon a time there was a small town at the edge of a great lake, and in the town there lived a \
clockmaker named Odile who could not keep time. Her clocks were beautiful, and every one of them \
was wrong. Some were slow in the morning and fast in the afternoon. Some went backwards when it \
rained. One of them, a tall clock of cherry wood, struck thirteen whenever somebody in the room \
told a lie, and so it stood in the back of the shop with a blanket over it, because the customers \
did not like it at all.

The people of the town were fond of Odile, but they did not set their watches by her. They set \
them by the ferry, which crossed the lake every morning at seven and came back every evening at \
six. The ferry was never late. The old captain had a beard like a wave and a whistle made of \
silver, and when the whistle sounded over the water, the bakers opened their doors, the children \
ran to school, and the cats went home to sleep.

One morning the whistle did not sound. The bakers waited behind their doors. The children sat on \
the steps with their books. The cats looked at the water, and there was no ferry on it, only a \
white mist that lay on the lake like milk in a bowl. Nobody knew what time it was. By noon, or by \
what might have been noon, the town was very quiet, and some people had gone back to bed.

Odile put on her coat. She took the tall clock of cherry wood from the back of the shop, tied it \
to a little cart, and went down to the lake. She rowed into the mist with the clock behind her in \
the boat, and as she rowed, she spoke to it. "The captain is asleep," she said, and the clock \
struck thirteen. "The captain is lost," she said, and the clock was silent. "The captain is lost \
in the north," she said, and the clock struck thirteen. "The captain is lost in the east," she \
said, and the clock was silent, and so she turned the boat to the east.

She found the ferry on a bank of sand, with the captain sitting on the rail. "I have dropped my \
whistle in the lake," he said, "and without the whistle I do not know when to go." Odile looked at \
him for a long time. "I have a whole shop of clocks," she said, "and not one of them has ever been \
right. But the lake does not mind, and the mist does not mind. You may go whenever you like." The \
clock was silent. The captain laughed, and they pushed the ferry off the sand together.

From that day the ferry left when everybody was on board, and came back when everybody was tired. \
The bakers opened their doors when the bread was ready. The children went to school when the story \
was good, and the story was always good, because the teacher had learned to tell it well. And in \
the window of the shop stood the tall clock of cherry wood, without its blanket, and people came \
from far away to tell it what they believed, and to hear whether it was true.

There was once a lighthouse on a hill, a long way from the sea. Nobody remembered who had built \
it. The farmers said that the sea had been there first, and had gone away one night without saying \
goodbye. The keeper of the lighthouse was a young man named Tomas, and he lit the lamp every \
evening, and he put it out every morning, and in between he read books about ships.

In all his years on the hill he had never seen a ship. He had seen carts and wagons, and once a \
circus, and many foxes. The light went round and round over the fields of wheat, and the wheat \
moved in the wind like water, and on some nights, when he was tired, he could not have said which \
of the two it was. On such nights he wrote in the book of the lighthouse: clear weather, a gentle \
sea, no ships.

One night in the autumn there was a knock at the door. An old woman stood on the step with a \
suitcase in her hand and leaves in her hair. "I saw your light," she said. "I was walking from the \
mountains to the coast, and I was lost in the fields, and then I saw your light." Tomas gave her \
soup and bread and the chair beside the fire. She told him about the coast, where the lighthouses \
stood in the water up to their knees, and about the keepers, who read books about farms.

In the morning she was gone, but in the book of the lighthouse she had written a line under his \
own. Fog in the fields, it said, a kind sea, one ship, safe in the harbour. Tomas read it many \
times. After that he kept a pot of soup on the fire every night, and a second chair beside the \
first, and the light went round and round over the wheat. It is surprising how many ships there \
are on the land, if there is a light for them. Some came for the soup, and some for the fire, and \
some only to ask the way. He wrote down each of them in the book, in his best hand, with the name \
and the weather.

When Tomas was old, a letter came from the coast. The sea was moving again, it said, slowly, a \
little more every year, and it was coming home. Tomas laughed and put another chair beside the \
fire. "Let it come," he said to the foxes. "There is soup enough."

Far in the north, where the winter is longer than the rest of the year, there was a forest that \
was learning to speak. It had begun with the wind, as everything there begins. The birches knew a \
few words, the pines knew a few more, and the old oak in the middle of the forest knew a whole \
sentence, but it was waiting for the right moment to say it.

A girl named Runa lived at the edge of the forest with her grandfather, who carved spoons. Every \
day she went into the forest to look for wood, and every day she listened. "Snow," said the \
birches. "Snow and stars," said the pines. The oak said nothing. Runa wrote the words down on the \
backs of the spoons, and her grandfather sold them in the market, and people who ate with them \
dreamed of walking under trees.

One winter the snow did not stop. It covered the path, and then the fence, and then the windows of \
the house. The wood beside the stove grew less, and the fire grew small. "Grandfather," said Runa, \
"I will go into the forest and ask." She climbed out through the roof and walked over the snow, \
so high above the ground that she could touch the tops of the birches with her hand. They were \
asleep. The pines were asleep as well. Only the old oak was awake, with one black branch above the \
snow.

"We are cold," said Runa. "The path is gone, and the fire is small, and I do not know what to do." \
The oak was silent for as long as it takes to count the stars. Then it said the sentence that it \
had kept for three hundred years. "Take what has fallen," said the oak, "and tell us a story while \
you carry it." And the branch broke from the tree with a sound like a bell, and fell softly on the \
snow at her feet.

So Runa carried the branch home, and while she carried it she told a story. It was about a small \
town at the edge of a great lake, and a clockmaker who could not keep time. The birches woke to \
hear it, and the pines bent down to hear it, and the snow stopped falling, because it wanted to \
know how the story would end. The fire burned all winter. In the spring the forest knew so many \
words that it never stopped talking again, and if you walk there in the evening, when the wind \
comes over the lake, you can hear it telling the story to itself, a little differently every time.
"""
