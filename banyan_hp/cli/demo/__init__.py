"""`banyan-hp serve --demo`: a week of a made-up application, put in through the HTTP API.

shop.json       its prompts, experiments, users, questions and answers
week.py         what the application would have logged: pure, the same for the same time
loading.py      puts it in, as any client could; knows nothing of how the backend keeps it
words.py        what the person at the terminal reads
"""
