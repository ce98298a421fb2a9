"""gunicorn with banyan_hp.

    pip install gunicorn flask
    export BANYAN_API_KEY=psk_… BANYAN_BASE_URL=http://127.0.0.1:8787
    gunicorn --config examples/gunicorn.conf.py --chdir examples flask_app:app

Nothing here is needed for the logger: no post_fork hook that makes it anew, no worker_exit hook that flushes
it, no signal handler. A worker makes its own thread and connections at its first record, wherever the logger
itself was made, and drains at its end, within `exit_timeout` (2 s).
"""

bind = "127.0.0.1:8000"
workers = 2

# sync, gthread and gevent are all fine. With gevent the worker's thread becomes a greenlet by itself; leave
# preload_app off then: gevent patches after the fork, and warns of what was imported before.
worker_class = "gthread"
threads = 4

# Loads the application once, before the fork. A prompt fetched or prefetched there is in all workers' caches.
preload_app = True

# A worker that is replaced drains first; so do all at a reload (HUP) and at the end (TERM).
max_requests = 10_000
max_requests_jitter = 1_000

# Must be more than the logger's exit_timeout, or a worker is killed while it drains. What a killed worker had
# in memory is lost; with configure(durability="disk") nothing is.
graceful_timeout = 30
