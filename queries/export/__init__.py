"""The history in the forms that other tools take: Timesketch CSV, ECS JSON, OCSF JSON.

An event of linktrail has an interval, theirs have one instant: it is the end of the interval, when the change is known to have
happened, and the beginning goes with it under a name of its own. Nothing is invented to fill a field that another form wants: links have
no actor, so they are no file activity of OCSF, which demands one; findings are its detection findings.
"""
