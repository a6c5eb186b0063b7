-- Lots with a validity, reservations, seats, caps, requests. A transfer of several lots is several rows, its parts.
-- compatible_from: 2

ALTER TABLE prm_ledger_balances
  ADD COLUMN lots  BIGINT NOT NULL DEFAULT 0 CHECK (lots >= 0),
  ADD COLUMN seats BIGINT NOT NULL DEFAULT 0 CHECK (seats >= 0),
  ADD COLUMN cap   BIGINT NOT NULL DEFAULT -1,
  ADD COLUMN due   BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN stated BIGINT NOT NULL DEFAULT 0,
  SET (fillfactor = 50);
CREATE INDEX prm_ledger_balances_due ON prm_ledger_balances (due) WHERE due > 0;

ALTER TABLE prm_ledger_transfers
  ADD COLUMN part       INTEGER NOT NULL DEFAULT 0 CHECK (part >= 0),
  ADD COLUMN parts      INTEGER NOT NULL DEFAULT 1 CHECK (parts > part),
  ADD COLUMN from_total BIGINT,
  ADD COLUMN to_total   BIGINT,
  ADD COLUMN corrects   BIGINT,
  DROP CONSTRAINT prm_ledger_transfers_partner_id_verb_key_key,
  ADD UNIQUE (key, partner_id, verb, part),
  DROP CONSTRAINT prm_ledger_transfers_from_id_fkey,
  DROP CONSTRAINT prm_ledger_transfers_to_id_fkey;
CREATE UNIQUE INDEX prm_ledger_transfers_corrects ON prm_ledger_transfers (corrects) WHERE corrects IS NOT NULL;

-- A foreign key is checked row by row, which costs a transfer as much as all the rest of its insert. The engine holds both balances when it
-- writes one; that they stay is kept here, and Verify looks for a transfer without.
CREATE FUNCTION prm_ledger_balances_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM prm_ledger_transfers WHERE from_id = OLD.id) OR EXISTS (SELECT 1 FROM prm_ledger_transfers WHERE to_id = OLD.id) THEN
    RAISE EXCEPTION 'balance % has transfers', OLD.id USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN OLD;
END $$;
CREATE TRIGGER prm_ledger_balances_used BEFORE DELETE ON prm_ledger_balances FOR EACH ROW EXECUTE FUNCTION prm_ledger_balances_used();

CREATE TRIGGER prm_ledger_balances_stay BEFORE TRUNCATE ON prm_ledger_balances FOR EACH STATEMENT EXECUTE FUNCTION prm_append_only();

-- Likewise: partners are never deleted.
CREATE TRIGGER prm_partners_stay BEFORE TRUNCATE ON prm_partners FOR EACH STATEMENT EXECUTE FUNCTION prm_append_only();
ALTER TABLE prm_events DROP CONSTRAINT prm_events_partner_id_fkey;
-- No list asks by target.
DROP INDEX prm_events_by_target;
DROP INDEX prm_events_by_account;
CREATE INDEX prm_events_by_account ON prm_events (account_id, at, id) WHERE account_id IS NOT NULL;

CREATE TABLE prm_ledger_lots (
  id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  book        TEXT NOT NULL,
  unit        TEXT COLLATE "C" NOT NULL,
  partner_id  TEXT COLLATE "C" NOT NULL,
  valid_from  BIGINT NOT NULL,
  valid_until BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  CHECK (valid_until = 0 OR valid_until > valid_from)
);
CREATE INDEX prm_ledger_lots_by_partner ON prm_ledger_lots (partner_id);

CREATE TABLE prm_ledger_reservations (
  id         TEXT COLLATE "C" PRIMARY KEY,
  book       TEXT NOT NULL,
  owner      TEXT COLLATE "C" NOT NULL,
  unit       TEXT COLLATE "C" NOT NULL,
  partner_id TEXT COLLATE "C" NOT NULL,
  key        TEXT COLLATE "C" NOT NULL,
  quantity   BIGINT NOT NULL CHECK (quantity > 0),
  state      TEXT NOT NULL CHECK (state IN ('open', 'posted', 'voided')),
  expires    BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL,
  UNIQUE (partner_id, key)
);
CREATE INDEX prm_ledger_reservations_open ON prm_ledger_reservations (owner, unit, expires) WHERE state = 'open';

CREATE TABLE prm_ledger_seats (
  id         TEXT COLLATE "C" PRIMARY KEY,
  book       TEXT NOT NULL,
  owner      TEXT COLLATE "C" NOT NULL,
  unit       TEXT COLLATE "C" NOT NULL,
  partner_id TEXT COLLATE "C" NOT NULL,
  person     TEXT NOT NULL,
  person_key TEXT COLLATE "C" NOT NULL,
  since      BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL
);
CREATE UNIQUE INDEX prm_ledger_seats_taken ON prm_ledger_seats (owner, unit, person_key) WHERE ended_at = 0;
CREATE INDEX prm_ledger_seats_in_use ON prm_ledger_seats (owner, unit, since, id) WHERE ended_at = 0;
CREATE INDEX prm_ledger_seats_by_partner ON prm_ledger_seats (partner_id);

CREATE TABLE prm_license_requests (
  id          TEXT COLLATE "C" PRIMARY KEY,
  partner_id  TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  sku         TEXT COLLATE "C" NOT NULL REFERENCES prm_license_types (sku),
  quantity    BIGINT NOT NULL CHECK (quantity > 0),
  reason      TEXT NOT NULL,
  asked_by    TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('open', 'granted', 'refused')),
  answer      TEXT NOT NULL,
  decided_by  TEXT NOT NULL,
  key         TEXT COLLATE "C" NOT NULL,
  hash        TEXT NOT NULL,
  created_at  BIGINT NOT NULL,
  decided_at  BIGINT NOT NULL,
  UNIQUE (partner_id, key)
);
CREATE INDEX prm_license_requests_by_age ON prm_license_requests (created_at, id);
CREATE INDEX prm_license_requests_by_partner ON prm_license_requests (partner_id, created_at, id);

-- The number that every change of what a decision rests on raises, before it commits and while it holds its gate alone: what was read behind
-- that gate at the same number still holds. Not the last use of a session, which decides nothing until it is old.
CREATE SEQUENCE prm_facts;
-- Whoever relies on the number alone holds the lock of that name together with others until it commits: a change waits for those who have
-- found the old one.
CREATE FUNCTION prm_facts_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM nextval(CAST(format('%I.prm_facts', TG_TABLE_SCHEMA) AS regclass));
  PERFORM pg_advisory_lock(hashtextextended('prm_facts', 7369325));
  PERFORM pg_advisory_unlock(hashtextextended('prm_facts', 7369325));
  RETURN NULL;
END $$;
CREATE TRIGGER prm_partners_facts AFTER UPDATE OR DELETE ON prm_partners FOR EACH STATEMENT EXECUTE FUNCTION prm_facts_changed();
CREATE TRIGGER prm_accounts_facts AFTER UPDATE OR DELETE ON prm_accounts FOR EACH STATEMENT EXECUTE FUNCTION prm_facts_changed();
CREATE TRIGGER prm_identities_facts AFTER UPDATE OR DELETE ON prm_identities FOR EACH STATEMENT EXECUTE FUNCTION prm_facts_changed();
CREATE TRIGGER prm_users_facts AFTER UPDATE OR DELETE ON prm_users FOR EACH STATEMENT EXECUTE FUNCTION prm_facts_changed();
CREATE TRIGGER prm_sessions_facts AFTER DELETE OR UPDATE OF token_hash, identity_id, partner_id, user_id, account_id, active_id, identity_epoch, partner_epoch,
  account_epoch, ends_at ON prm_sessions FOR EACH STATEMENT EXECUTE FUNCTION prm_facts_changed();
