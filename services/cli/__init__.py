"""Commands for people, beside the services: each file a group of `daybook …`.

They read what the services have written, and are none themselves. What a command needs is imported when it runs.
"""
