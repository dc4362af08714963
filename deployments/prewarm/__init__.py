"""Pre-warmed engines: a server on each node that holds torch and vLLM imported, and forks what would import them.

launcher.py     what Ray starts as a replica's Python: asks the server for a process, or becomes plain Python itself
host.py         what Ray starts once a node: keeps the server, for as long as the raylet lives
server.py       the server: imports, compares environments, forks a keeper for each replica
keeper.py       parent of one replica and of its engine's processes: ends them together, tells how the replica ended
process.py      multiprocessing's face of it: engine processes that are forked by the keeper
environment.py  which variables were read while importing, so that nobody gets a process that was made for others
place.py        where a node's server is found            wire.py   how it is spoken to
preload.py      what is imported, and what must hold then nodes.py  has every node of a cluster keep a server
birth.py        what a forked process does first

None of this imports Ray before a fork: its native code takes its random identifiers and its settings from the moment
it is loaded, and two processes forked from one that has loaded it make the same identifiers.
"""
