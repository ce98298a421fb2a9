"""Logs a record when it is imported: in a server's first process, before it forks."""

import os

import banyan_hp as banyan

banyan.log_prompt(f"import {os.getpid()}", "a")
