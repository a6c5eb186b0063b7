-- Lots with a validity, reservations, seats, caps, requests. A transfer of several lots is several rows, its parts.
-- compatible_from: 2

ALTER TABLE prm_ledger_balances ADD COLUMN lots  BIGINT NOT NULL DEFAULT 0 CHECK (lots >= 0);
ALTER TABLE prm_ledger_balances ADD COLUMN seats BIGINT NOT NULL DEFAULT 0 CHECK (seats >= 0);
ALTER TABLE prm_ledger_balances ADD COLUMN cap   BIGINT NOT NULL DEFAULT -1;
ALTER TABLE prm_ledger_balances ADD COLUMN due   BIGINT NOT NULL DEFAULT 0;
ALTER TABLE prm_ledger_balances ADD COLUMN stated BIGINT NOT NULL DEFAULT 0;
CREATE INDEX prm_ledger_balances_due ON prm_ledger_balances (due) WHERE due > 0;

-- SQLite cannot change a UNIQUE, so the table is made anew; its triggers and indexes go with the old one.
CREATE TABLE prm_ledger_transfers_2 (
  id         INTEGER PRIMARY KEY AUTOINCREMENT,
  book       TEXT NOT NULL,
  unit       TEXT NOT NULL,
  verb       TEXT NOT NULL,
  quantity   BIGINT NOT NULL CHECK (quantity > 0),
  from_id    BIGINT NOT NULL REFERENCES prm_ledger_balances (id),
  to_id      BIGINT NOT NULL REFERENCES prm_ledger_balances (id),
  from_after BIGINT NOT NULL,
  to_after   BIGINT NOT NULL,
  partner_id TEXT NOT NULL,
  actor      TEXT NOT NULL,
  reason     TEXT NOT NULL,
  key        TEXT NOT NULL,
  hash       TEXT NOT NULL,
  effective  BIGINT NOT NULL,
  recorded   BIGINT NOT NULL,
  part       INTEGER NOT NULL DEFAULT 0 CHECK (part >= 0),
  parts      INTEGER NOT NULL DEFAULT 1 CHECK (parts > part),
  from_total BIGINT,
  to_total   BIGINT,
  corrects   BIGINT REFERENCES prm_ledger_transfers_2 (id),
  CHECK (from_id <> to_id),
  UNIQUE (key, partner_id, verb, part)
);
INSERT INTO prm_ledger_transfers_2 (id, book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key, hash,
  effective, recorded)
SELECT id, book, unit, verb, quantity, from_id, to_id, from_after, to_after, partner_id, actor, reason, key, hash, effective, recorded
FROM prm_ledger_transfers ORDER BY id;
DROP TABLE prm_ledger_transfers;
ALTER TABLE prm_ledger_transfers_2 RENAME TO prm_ledger_transfers;
CREATE INDEX prm_ledger_transfers_out ON prm_ledger_transfers (from_id, recorded);
CREATE INDEX prm_ledger_transfers_in ON prm_ledger_transfers (to_id, recorded);
CREATE INDEX prm_ledger_transfers_dated_out ON prm_ledger_transfers (from_id) WHERE effective <> recorded;
CREATE INDEX prm_ledger_transfers_dated_in ON prm_ledger_transfers (to_id) WHERE effective <> recorded;
CREATE UNIQUE INDEX prm_ledger_transfers_corrects ON prm_ledger_transfers (corrects) WHERE corrects IS NOT NULL;

CREATE TRIGGER prm_ledger_transfers_no_update BEFORE UPDATE ON prm_ledger_transfers
BEGIN SELECT RAISE(ABORT, 'table prm_ledger_transfers is append-only'); END;
CREATE TRIGGER prm_ledger_transfers_no_delete BEFORE DELETE ON prm_ledger_transfers
BEGIN SELECT RAISE(ABORT, 'table prm_ledger_transfers is append-only'); END;
-- INSERT OR REPLACE deletes without asking the triggers above. A repeated key is passed over, as ON CONFLICT DO NOTHING wants it.
CREATE TRIGGER prm_ledger_transfers_no_replace BEFORE INSERT ON prm_ledger_transfers
  WHEN EXISTS (SELECT 1 FROM prm_ledger_transfers WHERE id = NEW.id)
  OR NEW.corrects IS NOT NULL AND EXISTS (SELECT 1 FROM prm_ledger_transfers WHERE corrects = NEW.corrects)
BEGIN SELECT RAISE(ABORT, 'table prm_ledger_transfers is append-only'); END;
CREATE TRIGGER prm_ledger_transfers_one_key BEFORE INSERT ON prm_ledger_transfers
  WHEN NOT EXISTS (SELECT 1 FROM prm_ledger_transfers WHERE id = NEW.id)
  AND EXISTS (SELECT 1 FROM prm_ledger_transfers WHERE partner_id = NEW.partner_id AND verb = NEW.verb AND key = NEW.key AND part = NEW.part)
BEGIN SELECT RAISE(IGNORE); END;

-- No list asks by target.
DROP INDEX prm_events_by_target;
DROP INDEX prm_events_by_account;
CREATE INDEX prm_events_by_account ON prm_events (account_id, at, id) WHERE account_id IS NOT NULL;

CREATE TABLE prm_ledger_lots (
  id          INTEGER PRIMARY KEY AUTOINCREMENT,
  book        TEXT NOT NULL,
  unit        TEXT NOT NULL,
  partner_id  TEXT NOT NULL,
  valid_from  BIGINT NOT NULL,
  valid_until BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  CHECK (valid_until = 0 OR valid_until > valid_from)
);
CREATE INDEX prm_ledger_lots_by_partner ON prm_ledger_lots (partner_id);

CREATE TABLE prm_ledger_reservations (
  id         TEXT PRIMARY KEY,
  book       TEXT NOT NULL,
  owner      TEXT NOT NULL,
  unit       TEXT NOT NULL,
  partner_id TEXT NOT NULL,
  key        TEXT NOT NULL,
  quantity   BIGINT NOT NULL CHECK (quantity > 0),
  state      TEXT NOT NULL CHECK (state IN ('open', 'posted', 'voided')),
  expires    BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL,
  UNIQUE (partner_id, key)
);
CREATE INDEX prm_ledger_reservations_open ON prm_ledger_reservations (owner, unit, expires) WHERE state = 'open';

CREATE TABLE prm_ledger_seats (
  id         TEXT PRIMARY KEY,
  book       TEXT NOT NULL,
  owner      TEXT NOT NULL,
  unit       TEXT NOT NULL,
  partner_id TEXT NOT NULL,
  person     TEXT NOT NULL,
  person_key TEXT NOT NULL,
  since      BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX prm_ledger_seats_taken ON prm_ledger_seats (owner, unit, person_key) WHERE ended_at = 0;
CREATE INDEX prm_ledger_seats_in_use ON prm_ledger_seats (owner, unit, since, id) WHERE ended_at = 0;
CREATE INDEX prm_ledger_seats_by_partner ON prm_ledger_seats (partner_id);

CREATE TABLE prm_license_requests (
  id          TEXT PRIMARY KEY,
  partner_id  TEXT NOT NULL REFERENCES prm_partners (id),
  sku         TEXT NOT NULL REFERENCES prm_license_types (sku),
  quantity    BIGINT NOT NULL CHECK (quantity > 0),
  reason      TEXT NOT NULL,
  asked_by    TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('open', 'granted', 'refused')),
  answer      TEXT NOT NULL,
  decided_by  TEXT NOT NULL,
  key         TEXT NOT NULL,
  hash        TEXT NOT NULL,
  created_at  BIGINT NOT NULL,
  decided_at  BIGINT NOT NULL,
  UNIQUE (partner_id, key)
);
CREATE INDEX prm_license_requests_by_age ON prm_license_requests (created_at, id);
CREATE INDEX prm_license_requests_by_partner ON prm_license_requests (partner_id, created_at, id);

-- The number that every change of what a decision rests on raises: what was read at the same number still holds. Not the last use of a
-- session, which decides nothing until it is old.
CREATE TABLE prm_facts (
  one    INTEGER PRIMARY KEY CHECK (one = 1),
  number BIGINT NOT NULL
);
INSERT INTO prm_facts (one, number) VALUES (1, 0);
CREATE TRIGGER prm_partners_facts_update AFTER UPDATE ON prm_partners BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_partners_facts_delete AFTER DELETE ON prm_partners BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_accounts_facts_update AFTER UPDATE ON prm_accounts BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_accounts_facts_delete AFTER DELETE ON prm_accounts BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_identities_facts_update AFTER UPDATE ON prm_identities BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_identities_facts_delete AFTER DELETE ON prm_identities BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_users_facts_update AFTER UPDATE ON prm_users BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_users_facts_delete AFTER DELETE ON prm_users BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_sessions_facts_update AFTER UPDATE OF token_hash, identity_id, partner_id, user_id, account_id, active_id, identity_epoch, partner_epoch,
  account_epoch, ends_at ON prm_sessions BEGIN UPDATE prm_facts SET number = number + 1; END;
CREATE TRIGGER prm_sessions_facts_delete AFTER DELETE ON prm_sessions BEGIN UPDATE prm_facts SET number = number + 1; END;
