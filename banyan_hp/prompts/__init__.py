"""Prompts: fetched once, kept fresh in the background, and there when the backend is not.

What is remembered of the backend's answers, and for how long, is in `answers`; what is asked, and how its
JSON is read, in `questions`; which prompt a caller gets out of that in `client`.
"""
