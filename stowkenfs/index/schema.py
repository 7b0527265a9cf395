"""The tables of index.db (FORMAT.md, "Index"): a catalogue that the packs can rebuild."""

import re

VERSION = 3

SCHEMA: str = """
CREATE TABLE setting (
    name  TEXT PRIMARY KEY,
    value INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE inode (
    ino      INTEGER PRIMARY KEY,
    mode     INTEGER NOT NULL,
    uid      INTEGER NOT NULL,
    gid      INTEGER NOT NULL,
    nlink    INTEGER NOT NULL,
    size     INTEGER NOT NULL,
    rdev     INTEGER NOT NULL,
    atime_ns INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    ctime_ns INTEGER NOT NULL,
    parent   INTEGER NOT NULL,  -- of a directory; 0 for all else
    target   BLOB               -- of a symbolic link
);
CREATE INDEX inode_orphan ON inode (ino) WHERE nlink = 0;

CREATE TABLE dentry (
    parent INTEGER NOT NULL,
    name   BLOB NOT NULL,
    ino    INTEGER NOT NULL,
    cookie INTEGER NOT NULL,    -- where readdir goes on; never used twice
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX dentry_cookie ON dentry (parent, cookie);

CREATE TABLE xattr (
    ino   INTEGER NOT NULL,
    name  BLOB NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (ino, name)
) WITHOUT ROWID;

CREATE TABLE extent (
    ino    INTEGER NOT NULL,
    start  INTEGER NOT NULL,    -- bytes into the document
    length INTEGER NOT NULL,    -- bytes; fewer than the records hold after a truncation
    record INTEGER NOT NULL,    -- the first of ...
    count  INTEGER NOT NULL,    -- ... consecutive records
    PRIMARY KEY (ino, start)
) WITHOUT ROWID;

CREATE TABLE draft (
    ino        INTEGER PRIMARY KEY,
    generation INTEGER NOT NULL -- names the file under drafts/
);

CREATE TABLE draft_region (
    ino        INTEGER NOT NULL,
    start      INTEGER NOT NULL, -- bytes into the document
    file_start INTEGER NOT NULL, -- bytes into the draft's file, or into its spool
    length     INTEGER,          -- NULL: up to the end of the draft's file
    spool      INTEGER NOT NULL, -- 0: the draft has a file of its own
    PRIMARY KEY (ino, start)
) WITHOUT ROWID;

CREATE TABLE conversation (
    id  TEXT NOT NULL,
    ino INTEGER NOT NULL,
    PRIMARY KEY (id, ino)
) WITHOUT ROWID;
CREATE INDEX conversation_inode ON conversation (ino);

CREATE TABLE block (
    kind    INTEGER NOT NULL,
    first   INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    pack    INTEGER NOT NULL,
    offset  INTEGER NOT NULL,
    stored  INTEGER NOT NULL,   -- bytes in the pack, header included
    raw     INTEGER NOT NULL,   -- bytes of the payload
    content INTEGER NOT NULL,   -- bytes of documents that its records stand for
    skip    INTEGER NOT NULL DEFAULT 0,  -- things of the block that come before ``first``
    layout  INTEGER NOT NULL DEFAULT 0,  -- 0 as written at first, 1 dense
    base    INTEGER,            -- number that names the block its codec refers to
    brings  INTEGER NOT NULL DEFAULT 0,  -- stored bytes of what its records were the first to use
    PRIMARY KEY (kind, first)
) WITHOUT ROWID;

CREATE TABLE pack (
    pack   INTEGER PRIMARY KEY,
    length INTEGER NOT NULL,    -- committed bytes; anything beyond is an interrupted write
    tier   INTEGER NOT NULL DEFAULT 0  -- 0 by ingest, 1 by compaction, 2 keys of hot things
);

CREATE TABLE record_key   (key INTEGER PRIMARY KEY, no INTEGER NOT NULL);
CREATE TABLE segment_key  (key INTEGER PRIMARY KEY, no INTEGER NOT NULL);
CREATE TABLE template_key (key INTEGER PRIMARY KEY, no INTEGER NOT NULL);

-- Segments that near duplicates are looked for among: of each, the bands of its set of ids.
CREATE TABLE canonical (
    no    INTEGER PRIMARY KEY,
    bands BLOB NOT NULL
);

-- Keys in packs: sorted, each run written at once. ``low`` and ``high`` are keys as unsigned
-- numbers less 2**63, so that SQLite orders them.
CREATE TABLE key_block (
    thing  INTEGER NOT NULL,    -- the kind of what the keys are of
    run    INTEGER NOT NULL,
    low    INTEGER NOT NULL,
    high   INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    pack   INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    raw    INTEGER NOT NULL,
    PRIMARY KEY (thing, run, low)
) WITHOUT ROWID;

-- The part of the tree that is in packs: what no row of inode, dentry, extent and xattr tells.
CREATE TABLE frozen_inode (
    first  INTEGER PRIMARY KEY, -- lowest inode number of the group
    last   INTEGER NOT NULL,
    count  INTEGER NOT NULL,
    pack   INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    stored INTEGER NOT NULL,
    raw    INTEGER NOT NULL,
    files  INTEGER NOT NULL,    -- how many are files
    bytes  INTEGER NOT NULL,    -- their lengths
    sealed INTEGER NOT NULL,    -- lengths of their extents
    conversations INTEGER NOT NULL
);
CREATE TABLE frozen_name (
    parent      INTEGER NOT NULL,  -- directory and name of the group's first entry
    name        BLOB NOT NULL,
    last_parent INTEGER NOT NULL,
    last_name   BLOB NOT NULL,
    cookie      INTEGER NOT NULL,  -- of the first entry; the others follow, one by one
    count       INTEGER NOT NULL,
    low_ino     INTEGER NOT NULL,  -- of all that its entries name
    high_ino    INTEGER NOT NULL,
    pack        INTEGER NOT NULL,
    offset      INTEGER NOT NULL,
    stored      INTEGER NOT NULL,
    raw         INTEGER NOT NULL,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
CREATE UNIQUE INDEX frozen_name_cookie ON frozen_name (parent, cookie);

CREATE TABLE frame_kind (
    kind   INTEGER PRIMARY KEY,
    frames INTEGER NOT NULL,
    bytes  INTEGER NOT NULL
);

-- What changed since the namespace was last written to a pack. ``stamp`` grows with each
-- change, so that a change made while an earlier one is being written is not taken for it.
CREATE TABLE dirty_inode (
    ino          INTEGER PRIMARY KEY,
    extents_from INTEGER NOT NULL,  -- extents from this byte on changed
    stamp        INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE dirty_dentry (
    parent INTEGER NOT NULL,
    name   BLOB NOT NULL,
    stamp  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (parent, name)
) WITHOUT ROWID;
"""

NO_EXTENTS = (1 << 63) - 1
"""``extents_from`` of an inode whose extents did not change."""


def _triggers() -> str:
    """Statements that note each change. Upserts: an outer ``OR REPLACE`` must not reach them."""
    statements = []
    for table, row_start in (("inode", None), ("xattr", None), ("extent", "start")):
        for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
            start = f"{row}.{row_start}" if row_start else NO_EXTENTS
            statements.append(
                # ruff: noqa: S608 - names from the literals above
                f"CREATE TRIGGER {table}_{event.lower()} AFTER {event} ON {table} BEGIN"
                f" INSERT INTO dirty_inode (ino, extents_from) VALUES ({row}.ino, {start})"
                " ON CONFLICT (ino) DO UPDATE SET stamp = stamp + 1,"
                " extents_from = min(extents_from, excluded.extents_from); END;"
            )
    for event, row in (("INSERT", "new"), ("UPDATE", "new"), ("DELETE", "old")):
        statements.append(
            f"CREATE TRIGGER dentry_{event.lower()} AFTER {event} ON dentry BEGIN"
            f" INSERT INTO dirty_dentry (parent, name) VALUES ({row}.parent, {row}.name)"
            " ON CONFLICT (parent, name) DO UPDATE SET stamp = stamp + 1; END;"
        )
    return "\n".join(statements)


TRIGGERS = _triggers()
SCHEMA += TRIGGERS


def triggers() -> list[str]:
    """Names of what ``TRIGGERS`` makes."""
    return re.findall(r"CREATE TRIGGER (\w+)", TRIGGERS)


def _made(*names: str) -> str:
    """The statements that make tables and indexes of these names."""
    pattern = r"^CREATE (?:TABLE|UNIQUE INDEX) {} .*?;$"
    return "".join(
        statement
        for name in names
        for statement in re.findall(pattern.format(name), SCHEMA, re.DOTALL | re.MULTILINE)
    )


MIGRATIONS: dict[int, str] = {
    1: """
ALTER TABLE block ADD COLUMN skip INTEGER NOT NULL DEFAULT 0;
ALTER TABLE block ADD COLUMN layout INTEGER NOT NULL DEFAULT 0;
ALTER TABLE block ADD COLUMN base INTEGER;
ALTER TABLE block ADD COLUMN brings INTEGER NOT NULL DEFAULT 0;
ALTER TABLE pack ADD COLUMN tier INTEGER NOT NULL DEFAULT 0;
"""
    + _made("key_block", "frozen_inode", "frozen_name", "frozen_name_cookie"),
    2: _made("canonical"),
}
"""What brings the tables of a version to the next one."""


def stored(statements: str) -> str:
    """``statements`` as they go into the database, which keeps their text: nothing for people."""
    return re.sub(r"\s+", " ", re.sub(r"--.*", "", statements))
