"""What `plumbline-cloud provision ACTION --help` ends with."""

from __future__ import annotations

EXAMPLES = """examples:
  plumbline-cloud provision init --config plant/cloud.toml --broker-name broker.plant.local
  plumbline-cloud provision token line3-cam1 --config plant/cloud.toml
  plumbline-cloud provision line3-cam1 --out line3-cam1 --config plant/cloud.toml
  plumbline-cloud provision revoke line3-cam1 --reason stolen --config plant/cloud.toml
  plumbline-cloud provision status --config plant/cloud.toml

exit codes: 0 done, 1 an error a person can mend, 2 wrong usage, 3 (status) something expires within 30 days"""


HELP = {
    name: f"example: plumbline-cloud provision {words} --config plant/cloud.toml{more}"
    for name, words, more in (
        ("init", "init --broker-name broker.plant.local", ""),
        (
            "station",
            "station line3-cam1 --out line3-cam1",
            "\n\nCopy the folder to the device; the key in it is its alone.",
        ),
        (
            "token",
            "token line3-cam1",
            "\n\nIt prints the command that the device runs; its private key never leaves it.",
        ),
        (
            "revoke",
            "revoke line3-cam1 --reason stolen",
            "\n\nA station that comes back needs a new token: provision token STATION.",
        ),
        (
            "status",
            "status",
            "\n\nexit codes: 0 all good, 3 something expires within 30 days or has expired, 1 an error",
        ),
        ("sync", "sync", "\n\nFor a broker that was away, or is new."),
        ("renew", "renew", "\n\nRestart the broker and the server after it. Stations renew their own by themselves."),
        (
            "rotate-ca",
            "rotate-ca",
            """

1. rotate-ca            both authorities count; restart the broker and the server
2. stations take the new one when they renew (plumbline-agent enrol --renew: at once)
3. rotate-ca --finish   refused while a station knows only the old one; restart the broker and the server""",
        ),
        (
            "update-broker",
            "update-broker",
            """

For a plant whose broker's folder was made before December 2026: there whoever has ca.key can make a certificate by which the
broker takes them for the cloud. It changes a line of broker/mosquitto.conf and writes broker/dynamic-security.json anew.

1. start the server of this version, and stop every broker; stations go on, and keep what they have to say
2. update-broker    done twice, or after it was killed, it ends the same
3. copy both files to brokers with a folder of their own, and start every broker; stations come back by themselves

No station gets another certificate.""",
        ),
    )
}
