"""One file a measurement: what is called, in which cases, what is shown of it, and which targets it has."""
