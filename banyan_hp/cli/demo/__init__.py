"""`banyan-hp serve --demo`: a week of a made-up application, put in through the HTTP API.

It does as any client could, and knows nothing of how the backend keeps what it gets; but that its experiments
began days ago, whoever starts it has to bring about.

    shop.json         prompts, experiments, users, questions and answers
    week.py           what the application would have logged: pure, the same for the same time
    trials.py         the same of its experiments: users, what they got, their scores
    models.py         one call of a model
    loading.py        puts it in
    words.py          what the person at the terminal reads
"""
