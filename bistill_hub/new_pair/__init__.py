"""A new pair's recipe: what the Hub and this machine have for two languages, and a script that says it."""
