"""`banyan-hp experiments`: experiments on prompts, and what came of them, over the HTTP API.

arguments.py  the command line
changing.py   ls, create, start, pause, finish, rebuild
results.py    who won, or why nobody did
plan.py       how many users it takes; asks no backend
"""
