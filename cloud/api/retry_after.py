"""When to ask again, as answers that refuse for now say it."""

RETRY_AFTER_S = 30
