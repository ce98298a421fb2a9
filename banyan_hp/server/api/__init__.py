"""The HTTP API: one file of routes for each resource, over the rooms `store/` and, later, `analysis/`."""
