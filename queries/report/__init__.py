"""The postmortem of a time, written from the record: Markdown with SVG plots, and one HTML page that needs no network.

``gather`` asks the questions (and keeps what it asked), ``plots`` and ``layer_graph`` draw, ``render`` writes. The sections stand in the
order of the postmortem template that Google's SRE book made usual. What the record knows is filled in; what takes judgement (root cause,
lessons, action items) is left visibly empty: linktrail names candidates, never conclusions. Names from disks are hostile text throughout.
"""
