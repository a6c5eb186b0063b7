-- The floor, the ledger and the licence types.
-- compatible_from: 1

CREATE TABLE prm_locks (
  name TEXT PRIMARY KEY
);
INSERT INTO prm_locks (name) VALUES ('tree');

CREATE SEQUENCE prm_nodes;

CREATE TABLE prm_partners (
  id                   TEXT COLLATE "C" PRIMARY KEY,
  parent_id            TEXT COLLATE "C" REFERENCES prm_partners (id),
  path                 TEXT COLLATE "C" NOT NULL UNIQUE,
  depth                INTEGER NOT NULL CHECK (depth >= 1),
  state                TEXT NOT NULL CHECK (state IN ('pending', 'active', 'expired', 'archived', 'tombstoned')),
  version              BIGINT NOT NULL,
  created_at           BIGINT NOT NULL,
  name                 TEXT NOT NULL,
  name_key             TEXT COLLATE "C" NOT NULL,
  email                TEXT NOT NULL,
  phone                TEXT NOT NULL,
  locale               TEXT NOT NULL,
  currency             TEXT NOT NULL,
  more_currencies      TEXT NOT NULL,
  resell               BOOLEAN NOT NULL,
  build                BOOLEAN NOT NULL,
  operate              BOOLEAN NOT NULL,
  manages_sub_partners BOOLEAN NOT NULL,
  own_blocks           INTEGER NOT NULL,
  own_cascade          BOOLEAN NOT NULL,
  own_inherited        INTEGER NOT NULL CHECK (own_inherited >= 0),
  own_epoch            BIGINT NOT NULL,
  users_blocks         INTEGER NOT NULL,
  users_cascade        BOOLEAN NOT NULL,
  users_inherited      INTEGER NOT NULL CHECK (users_inherited >= 0),
  users_epoch          BIGINT NOT NULL,
  contact_id           TEXT COLLATE "C",
  CHECK (contact_id IS NOT NULL OR id = 'prt_vendor'),
  CHECK (parent_id IS NULL OR parent_id <> id)
);
CREATE INDEX prm_partners_by_age ON prm_partners (created_at, id);
CREATE INDEX prm_partners_by_parent ON prm_partners (parent_id);
CREATE INDEX prm_partners_by_name ON prm_partners (name_key);

CREATE TABLE prm_identities (
  id             TEXT COLLATE "C" PRIMARY KEY,
  kind           TEXT NOT NULL CHECK (kind IN ('human', 'project')),
  login          TEXT NOT NULL,
  login_key      TEXT COLLATE "C" UNIQUE,
  email          TEXT NOT NULL,
  email_key      TEXT COLLATE "C" NOT NULL,
  email_verified BOOLEAN NOT NULL,
  password_hash  TEXT NOT NULL,
  epoch          BIGINT NOT NULL,
  version        BIGINT NOT NULL,
  created_at     BIGINT NOT NULL
);
CREATE INDEX prm_identities_by_email ON prm_identities (email_key);

CREATE TABLE prm_users (
  id          TEXT COLLATE "C" PRIMARY KEY,
  identity_id TEXT COLLATE "C" NOT NULL UNIQUE REFERENCES prm_identities (id),
  partner_id  TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  name        TEXT NOT NULL,
  role        TEXT NOT NULL,
  disabled    BOOLEAN NOT NULL,
  version     BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  UNIQUE (partner_id, id)
);

-- The primary contact is a user of the same partner; deferred, because each of the two rows names the other.
ALTER TABLE prm_partners ADD CONSTRAINT prm_partners_contact
  FOREIGN KEY (id, contact_id) REFERENCES prm_users (partner_id, id) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE prm_accounts (
  id          TEXT COLLATE "C" PRIMARY KEY,
  partner_id  TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  type        TEXT NOT NULL,
  identity_id TEXT COLLATE "C" UNIQUE REFERENCES prm_identities (id),
  name        TEXT NOT NULL,
  name_key    TEXT COLLATE "C" NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('active', 'idle_notified', 'suspended', 'closing', 'deleting', 'deleted')),
  blocks      INTEGER NOT NULL,
  epoch       BIGINT NOT NULL,
  region      TEXT NOT NULL,
  email       TEXT NOT NULL,
  company     TEXT NOT NULL,
  country     TEXT NOT NULL,
  phone       TEXT NOT NULL,
  locale      TEXT NOT NULL,
  version     BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  UNIQUE (partner_id, id)
);
CREATE UNIQUE INDEX prm_accounts_project_name ON prm_accounts (partner_id, name_key) WHERE type = 'project' AND state <> 'deleted';
CREATE INDEX prm_accounts_by_partner ON prm_accounts (partner_id, created_at, id);
CREATE INDEX prm_accounts_by_age ON prm_accounts (created_at, id);

CREATE TABLE prm_sessions (
  id             TEXT COLLATE "C" PRIMARY KEY,
  token_hash     TEXT COLLATE "C" NOT NULL UNIQUE,
  identity_id    TEXT COLLATE "C" NOT NULL REFERENCES prm_identities (id),
  partner_id     TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  user_id        TEXT COLLATE "C" REFERENCES prm_users (id),
  account_id     TEXT COLLATE "C" REFERENCES prm_accounts (id),
  active_id      TEXT COLLATE "C" REFERENCES prm_accounts (id),
  identity_epoch BIGINT NOT NULL,
  partner_epoch  BIGINT NOT NULL,
  account_epoch  BIGINT NOT NULL,
  created_at     BIGINT NOT NULL,
  seen_at        BIGINT NOT NULL,
  ends_at        BIGINT NOT NULL,
  CHECK ((user_id IS NULL) <> (account_id IS NULL))
);
CREATE INDEX prm_sessions_by_identity ON prm_sessions (identity_id);
CREATE INDEX prm_sessions_by_end ON prm_sessions (ends_at);

CREATE TABLE prm_throttles (
  key        TEXT COLLATE "C" PRIMARY KEY,
  failures   INTEGER NOT NULL,
  next_at    BIGINT NOT NULL,
  updated_at BIGINT NOT NULL
);
CREATE INDEX prm_throttles_by_age ON prm_throttles (updated_at);

CREATE TABLE prm_known_sources (
  identity_id TEXT COLLATE "C" NOT NULL REFERENCES prm_identities (id),
  source      TEXT COLLATE "C" NOT NULL,
  seen_at     BIGINT NOT NULL,
  PRIMARY KEY (identity_id, source)
);

CREATE TABLE prm_contracts (
  id             TEXT COLLATE "C" PRIMARY KEY,
  partner_id     TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  account_id     TEXT COLLATE "C",
  number         TEXT COLLATE "C" NOT NULL,
  currency       TEXT NOT NULL,
  billing_model  TEXT NOT NULL CHECK (billing_model IN ('prepayment', 'postpayment', 'postpayment_light')),
  blocking_limit BIGINT NOT NULL CHECK (blocking_limit >= 0),
  from_at        BIGINT NOT NULL,
  until_at       BIGINT NOT NULL,
  version        BIGINT NOT NULL,
  created_at     BIGINT NOT NULL,
  UNIQUE (partner_id, number),
  FOREIGN KEY (partner_id, account_id) REFERENCES prm_accounts (partner_id, id)
);
CREATE UNIQUE INDEX prm_contracts_wide ON prm_contracts (partner_id, currency) WHERE account_id IS NULL;

CREATE TABLE prm_events (
  id         TEXT COLLATE "C" PRIMARY KEY,
  at         BIGINT NOT NULL,
  kind       TEXT NOT NULL,
  actor      TEXT NOT NULL,
  subject    TEXT NOT NULL,
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  account_id TEXT COLLATE "C",
  target     TEXT COLLATE "C" NOT NULL,
  changed    TEXT NOT NULL
);
CREATE INDEX prm_events_by_age ON prm_events (at, id);
CREATE INDEX prm_events_by_partner ON prm_events (partner_id, at, id);
CREATE INDEX prm_events_by_account ON prm_events (account_id, at, id);
CREATE INDEX prm_events_by_target ON prm_events (target, at, id);

CREATE TABLE prm_deliveries (
  id         TEXT COLLATE "C" PRIMARY KEY,
  event_id   TEXT COLLATE "C" NOT NULL REFERENCES prm_events (id),
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  account_id TEXT COLLATE "C",
  template   TEXT NOT NULL,
  address    TEXT NOT NULL,
  region     TEXT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('ready', 'leased', 'done', 'dead')),
  attempt    INTEGER NOT NULL,
  next_at    BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX prm_deliveries_due ON prm_deliveries (state, next_at);
CREATE INDEX prm_deliveries_by_age ON prm_deliveries (created_at, id);

CREATE TABLE prm_keys (
  partner_id TEXT COLLATE "C" NOT NULL,
  verb       TEXT COLLATE "C" NOT NULL,
  key        TEXT COLLATE "C" NOT NULL,
  hash       TEXT NOT NULL,
  result     TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (partner_id, verb, key)
);

CREATE TABLE prm_license_types (
  sku        TEXT COLLATE "C" PRIMARY KEY,
  name       TEXT NOT NULL,
  retired    BOOLEAN NOT NULL,
  version    BIGINT NOT NULL,
  created_at BIGINT NOT NULL
);

CREATE TABLE prm_ledger_balances (
  id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  book       TEXT COLLATE "C" NOT NULL CHECK (book IN ('license', 'money')),
  owner      TEXT COLLATE "C" NOT NULL,
  unit       TEXT COLLATE "C" NOT NULL,
  state      TEXT COLLATE "C" NOT NULL CHECK (state IN ('held', 'reserved', 'consumed', 'expired', 'overage')),
  lot        BIGINT NOT NULL,
  partner_id TEXT COLLATE "C",
  amount     BIGINT NOT NULL,
  bounded    BOOLEAN NOT NULL,
  recorded   BIGINT NOT NULL,
  UNIQUE (owner, book, unit, state, lot),
  CHECK (amount >= 0 OR NOT bounded),
  CHECK (bounded OR owner = 'issuer' OR (book = 'money' AND state = 'held' AND substr(owner, 1, 4) = 'ctr_'))
);
CREATE INDEX prm_ledger_balances_by_partner ON prm_ledger_balances (partner_id);

CREATE TABLE prm_ledger_transfers (
  id         BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  book       TEXT COLLATE "C" NOT NULL,
  unit       TEXT COLLATE "C" NOT NULL,
  verb       TEXT COLLATE "C" NOT NULL,
  quantity   BIGINT NOT NULL CHECK (quantity > 0),
  from_id    BIGINT NOT NULL REFERENCES prm_ledger_balances (id),
  to_id      BIGINT NOT NULL REFERENCES prm_ledger_balances (id),
  from_after BIGINT NOT NULL,
  to_after   BIGINT NOT NULL,
  partner_id TEXT COLLATE "C" NOT NULL,
  actor      TEXT NOT NULL,
  reason     TEXT NOT NULL,
  key        TEXT COLLATE "C" NOT NULL,
  hash       TEXT NOT NULL,
  effective  BIGINT NOT NULL,
  recorded   BIGINT NOT NULL,
  CHECK (from_id <> to_id),
  UNIQUE (partner_id, verb, key)
);
CREATE INDEX prm_ledger_transfers_out ON prm_ledger_transfers (from_id, recorded);
CREATE INDEX prm_ledger_transfers_in ON prm_ledger_transfers (to_id, recorded);
CREATE INDEX prm_ledger_transfers_dated_out ON prm_ledger_transfers (from_id) WHERE effective <> recorded;
CREATE INDEX prm_ledger_transfers_dated_in ON prm_ledger_transfers (to_id) WHERE effective <> recorded;

CREATE FUNCTION prm_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'table % is append-only', TG_TABLE_NAME USING ERRCODE = 'PRM01';
END $$;
CREATE TRIGGER prm_events_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm_events
  FOR EACH STATEMENT EXECUTE FUNCTION prm_append_only();
CREATE TRIGGER prm_ledger_transfers_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON prm_ledger_transfers
  FOR EACH STATEMENT EXECUTE FUNCTION prm_append_only();

INSERT INTO prm_partners (id, path, depth, state, version, created_at, name, name_key, email, phone, locale, currency, more_currencies,
  resell, build, operate, manages_sub_partners, own_blocks, own_cascade, own_inherited, own_epoch, users_blocks, users_cascade,
  users_inherited, users_epoch)
VALUES ('prt_vendor', '/0/', 1, 'active', 1, 0, 'Vendor', 'vendor', '', '', '', '', '',
  FALSE, FALSE, FALSE, FALSE, 0, FALSE, 0, 0, 0, FALSE, 0, 0);
