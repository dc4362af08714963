"""The data path: a model's bytes go over a socket of our own, not through Serve's handle.

The handle decides (it queues, wakes, chooses a replica, counts); what it hands out is a ticket. With the ticket a
gateway process opens one connection to the replica, a link, and from then on all requests between the two share it.

wire.py      frames                              listener.py  the replica's end: its door, its calls
tickets.py   what a lease call hands out         link.py      the gateway's end: one connection, many answers
outbox.py    frames gathered into one write          unwritten.py  what calls took, until that is on record

Every call ends with one frame of the replica's, which says what it took, also after the gateway has cancelled it: the
gateway keeps the call's number until then. The replica keeps the same until the gateway answers that it is on record.
What a lost link leaves of either is the replica's to report (``deployments.orphans``).

A replica that is killed says nothing more. So every frame of an answer carries how many tokens are out with it, as far
as the engine counts along: what has left the replica by its death is what the gateway has it down for.
"""
