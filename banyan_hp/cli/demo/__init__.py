"""`banyan-hp serve --demo`: a week of a made-up application, put in through the HTTP API.

It does as any client could, and knows nothing of how the backend keeps what it gets.

    shop.json         prompts, experiments, users, questions and answers
    week.py           what the application would have logged: pure, the same for the same time
    loading.py        puts it in
    words.py          what the person at the terminal reads
"""
