"""Reading what was asked of a model and what it answered, by its shape. Pure; imports no provider's package.

`fields` looks into values of unknown make; `usage` counts tokens; `responses` reads messages and whole
responses; `pieces` and `chunks` put streamed ones together; `received` keeps what came until it is read.
"""
