"""Integrations with the frameworks themselves, in an environment of their own: `make test-integrations`."""
