// Asks the backend at the address given, as useChat does, and prints what became of the message.
// With "stop" it stops at the first text, with "resume" it then goes on with the chat.
import { createRequire } from "node:module";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [address, prompt, ...wishes] = process.argv.slice(2);
const find = createRequire(`${resolve(process.env.NODE_FOLDER)}/`);
const { AbstractChat, DefaultChatTransport } = await import(pathToFileURL(find.resolve("ai")));

class State {
  status = "ready";
  error = undefined;
  messages = [];
  deltas = 0;
  pushMessage = (message) => this.messages.push(message);
  popMessage = () => this.messages.pop();
  replaceMessage = (index, message) => {
    this.messages[index] = message;
    this.deltas++;
    this.changed?.(message);
  };
  snapshot = (thing) => structuredClone(thing);
}

class Chat extends AbstractChat {
  constructor(state) {
    super({ id: "chat-1", state, transport: new DefaultChatTransport({ api: `${address}/api/chat` }) });
  }
}

const state = new State();
const chat = new Chat(state);
const text = (message) => message.parts.map((part) => (part.type === "text" ? part.text : "")).join("");
if (wishes.includes("stop")) {
  state.changed = (message) => {
    if (text(message)) chat.stop();
  };
}
await chat.sendMessage({ text: prompt });
const partly = text(state.messages.at(-1));
if (wishes.includes("resume")) {
  state.changed = undefined;
  await chat.resumeStream();
}

const last = state.messages.at(-1);
console.log(
  JSON.stringify({
    status: state.status,
    error: state.error?.message ?? null,
    role: last.role,
    id: last.id,
    text: text(last),
    states: last.parts.filter((part) => part.type === "text").map((part) => part.state),
    partly,
    deltas: state.deltas,
    messages: state.messages.length,
  }),
);
