"""What a replica's calls took so far, where the death of its process does not reach: on a slate, on its node's disk.

file.py      how it lies there          slate.py   the living replica's: a line a call, marked with every frame
adoption.py  the slates of the dead     sweep.py   of nodes that no replica is left on

A call's line is wiped when its gateway has what it took on record, or the manager. So what stands on a dead replica's
slate is what nobody else may know. It goes to the database (``app.storage.usage_remains``) and is no event there: while
the request's gateway lives, that writes the event. Where the gateway is dead too, whoever settles what it left of its
drafts finds there how far they had come. Where bytes go through the handle, which lets no gateway say that it heard or
wrote anything, also the lines of calls that have ended go there before they are wiped.
"""
