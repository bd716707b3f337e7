-- The tables as the last version made them that knew no cameras.
CREATE TABLE alarms (
    id INTEGER NOT NULL,
    station VARCHAR(63) NOT NULL,
    opened_at FLOAT NOT NULL,
    seen_at FLOAT NOT NULL,
    closed_at FLOAT,
    cause VARCHAR(40) NOT NULL,
    sentence TEXT NOT NULL,
    closed_why TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE audit (
    id INTEGER NOT NULL,
    at FLOAT NOT NULL,
    actor VARCHAR(120) NOT NULL,
    act VARCHAR(60) NOT NULL,
    detail TEXT NOT NULL,
    hash VARCHAR(64) NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE commands (
    id VARCHAR(64) NOT NULL,
    station VARCHAR(63) NOT NULL,
    name VARCHAR(40) NOT NULL,
    sent_at FLOAT NOT NULL,
    expires_at FLOAT NOT NULL,
    ok BOOLEAN,
    detail TEXT NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE dead_letters (
    id INTEGER NOT NULL,
    received_at FLOAT NOT NULL,
    topic TEXT NOT NULL,
    reason TEXT NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE desired (
    station VARCHAR(63) NOT NULL,
    desired_seq INTEGER NOT NULL,
    bundle VARCHAR(64) NOT NULL,
    envelope TEXT NOT NULL,
    published BOOLEAN NOT NULL,
    PRIMARY KEY (station)
);
CREATE TABLE drift_cursor (
    id INTEGER NOT NULL,
    cursor INTEGER NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE drift_state (
    station VARCHAR(63) NOT NULL,
    snapshot BLOB NOT NULL,
    PRIMARY KEY (station)
);
CREATE TABLE rollouts (
    id INTEGER NOT NULL,
    version VARCHAR(80) NOT NULL,
    bundle VARCHAR(64) NOT NULL,
    state VARCHAR(24) NOT NULL,
    wave INTEGER NOT NULL,
    wave_started_at FLOAT NOT NULL,
    changed_stations TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at FLOAT NOT NULL,
    ended_at FLOAT,
    PRIMARY KEY (id)
);
CREATE TABLE samples (
    sample VARCHAR(80) NOT NULL,
    station VARCHAR(63) NOT NULL,
    captured_at FLOAT NOT NULL,
    part TEXT NOT NULL,
    label VARCHAR(120) NOT NULL,
    confidence FLOAT NOT NULL,
    verdict VARCHAR(8) NOT NULL,
    reason VARCHAR(16) NOT NULL,
    inclusion FLOAT NOT NULL,
    bundle VARCHAR(64) NOT NULL,
    requested_at FLOAT,
    image_sha256 VARCHAR(64),
    received_at FLOAT,
    alarm INTEGER,
    truth VARCHAR(120),
    labeller VARCHAR(120),
    labelled_at FLOAT,
    PRIMARY KEY (sample)
);
CREATE INDEX samples_by_station ON samples (station, captured_at);
CREATE TABLE station_status (
    station VARCHAR(63) NOT NULL,
    boot VARCHAR(64) NOT NULL,
    online BOOLEAN NOT NULL,
    state_at FLOAT NOT NULL,
    agent_version VARCHAR(40) NOT NULL,
    simulated BOOLEAN NOT NULL,
    bundle VARCHAR(64) NOT NULL,
    update_state VARCHAR(24) NOT NULL,
    deployment VARCHAR(64) NOT NULL,
    candidate VARCHAR(64) NOT NULL,
    reason TEXT NOT NULL,
    desired_seq INTEGER NOT NULL,
    reported_at FLOAT NOT NULL,
    summary_at FLOAT NOT NULL,
    PRIMARY KEY (station)
);
CREATE TABLE stations (
    station VARCHAR(63) NOT NULL,
    token_sha256 VARCHAR(64) NOT NULL,
    site VARCHAR(120) NOT NULL,
    added_at FLOAT NOT NULL,
    PRIMARY KEY (station)
);
CREATE TABLE summaries (
    id INTEGER NOT NULL,
    station VARCHAR(63) NOT NULL,
    boot VARCHAR(64) NOT NULL,
    seq INTEGER NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT NOT NULL,
    received_at FLOAT NOT NULL,
    bundle VARCHAR(64) NOT NULL,
    captured INTEGER NOT NULL,
    decided INTEGER NOT NULL,
    passed INTEGER NOT NULL,
    rejected INTEGER NOT NULL,
    dropped INTEGER NOT NULL,
    undecided INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (id),
    UNIQUE (station, boot, seq)
);
CREATE TABLE retrains (
    id INTEGER NOT NULL,
    alarm INTEGER,
    station VARCHAR(63) NOT NULL,
    state VARCHAR(24) NOT NULL,
    reason TEXT NOT NULL,
    run TEXT NOT NULL,
    version VARCHAR(80) NOT NULL,
    figures TEXT NOT NULL,
    started_at FLOAT NOT NULL,
    ended_at FLOAT,
    PRIMARY KEY (id),
    FOREIGN KEY(alarm) REFERENCES alarms (id)
);
CREATE TABLE rollout_stations (
    rollout INTEGER NOT NULL,
    station VARCHAR(63) NOT NULL,
    wave INTEGER NOT NULL,
    state VARCHAR(24) NOT NULL,
    deployment VARCHAR(64) NOT NULL,
    previous_bundle VARCHAR(64) NOT NULL,
    ordered_at FLOAT,
    ended_at FLOAT,
    reason TEXT NOT NULL,
    PRIMARY KEY (rollout, station),
    FOREIGN KEY(rollout) REFERENCES rollouts (id)
);
