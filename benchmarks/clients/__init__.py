"""The clients that are measured: each module has a class `Client`, made with the server's URL.

A client without one of these methods has no figure for the cases that use it.

    get()                 fetch the prediction "p"
    cycle()               create a prediction, and poll it without pauses until it has ended
    page()                list a page of 100 predictions
    read(path)            read a stream; return how many events of output it has
    relay(path)           make the bytes for a browser from a stream; return the same
    parse(chunks)         parse the bytes of a stream; return how many events there are
    upload(path)          upload a file
    download(size, path)  save a file of that size
"""

from __future__ import annotations

from typing import Final

TOKEN: Final = "r8_benchmark"
VERSION: Final = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
INPUT: Final = {"text": "Alice"}
