"""What people were told, as it stands in the table of posts."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import select

from cloud.store.notices import Notices
from cloud.store.operate_tables import notice_posts

Told = dict[str, Any]


def told_by(notices: Notices, channel: str) -> list[Told]:
    """Return every message for a channel, oldest first, sent or not."""
    query = select(notice_posts.c.body).where(notice_posts.c.channel == channel).order_by(notice_posts.c.id)
    with notices._database.read() as connection:
        return [json.loads(body) for body in connection.execute(query).scalars()]
