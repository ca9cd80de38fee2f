"""TensorFlow 1 graphs and sessions: the graph is noted while it is built, each `Session.run` becomes events.

`building` notes ops, gradient calls and optimizer calls; `closure` says which ops a run executes and `planning` what it
is for; `feeding` decides what goes in, `running` what is asked for; `replay` writes the run out as events; `variables`
reads and writes the session's variables; `hooks` are the touches of TensorFlow's private parts.
"""
