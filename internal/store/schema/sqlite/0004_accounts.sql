-- Account types as data; who owns an account, who is a member of it, and in whose place a session works.
-- compatible_from: 4

-- Times are in microseconds. How many members of each kind an account of a type has room for, -1 without a limit, and how many such accounts a partner, 0 without a limit. What
-- a type denies is bits, 16 that anybody but the owner closes it, and is written in each account too: it never changes.
CREATE TABLE prm_account_types (
  code              TEXT NOT NULL PRIMARY KEY,
  ceiling           TEXT NOT NULL,
  employees         BIGINT NOT NULL CHECK (employees >= -1),
  special_employees BIGINT NOT NULL CHECK (special_employees >= -1),
  external_users    BIGINT NOT NULL CHECK (external_users >= -1),
  collaborators     BIGINT NOT NULL CHECK (collaborators >= -1),
  guests            BIGINT NOT NULL CHECK (guests >= -1),
  max_per_partner   BIGINT NOT NULL CHECK (max_per_partner >= 0),
  certified_only    BOOLEAN NOT NULL,
  denies            INTEGER NOT NULL,
  leftovers         TEXT NOT NULL CHECK (leftovers IN ('return', 'forfeit')),
  idle              BIGINT NOT NULL CHECK (idle >= 0),
  grace             BIGINT NOT NULL,
  last_notice       BIGINT NOT NULL,
  version           BIGINT NOT NULL,
  created_at        BIGINT NOT NULL
);
INSERT INTO prm_account_types (code, ceiling, employees, special_employees, external_users, collaborators, guests, max_per_partner, certified_only, denies, leftovers, idle, grace, last_notice, version,
  created_at) VALUES
  ('standard', '', -1, 0, 1, 5, 0, 0, FALSE, 0, 'return', 7776000000000, 2592000000000, 604800000000, 1, 0),
  ('project', '', 0, 0, 0, 5, -1, 0, FALSE, 0, 'return', 7776000000000, 2592000000000, 604800000000, 1, 0),
  ('solution', 'corporation', 0, 10, 1, -1, 0, 0, TRUE, 31, 'return', 0, 0, 0, 1, 0);

-- An account's owner is a user of its partner.
ALTER TABLE prm_accounts ADD COLUMN owner_id TEXT REFERENCES prm_users (id);
ALTER TABLE prm_accounts ADD COLUMN denies INTEGER NOT NULL DEFAULT 0;
UPDATE prm_accounts SET owner_id = (SELECT contact_id FROM prm_partners p WHERE p.id = partner_id);
CREATE INDEX prm_accounts_by_owner ON prm_accounts (owner_id) WHERE state <> 'deleted';
CREATE TRIGGER prm_accounts_type BEFORE UPDATE OF type, denies ON prm_accounts WHEN NEW.type <> OLD.type OR NEW.denies <> OLD.denies
BEGIN SELECT RAISE(ABORT, 'the type of an account never changes'); END;
-- What a constraint would say, which cannot be added to a table.
CREATE TRIGGER prm_accounts_owner_insert BEFORE INSERT ON prm_accounts
  WHEN NOT EXISTS (SELECT 1 FROM prm_users WHERE id = NEW.owner_id AND partner_id = NEW.partner_id)
  OR NOT EXISTS (SELECT 1 FROM prm_account_types WHERE code = NEW.type)
BEGIN SELECT RAISE(ABORT, 'the owner of an account is a user of its partner, and its type is there'); END;
CREATE TRIGGER prm_accounts_owner_update BEFORE UPDATE OF owner_id ON prm_accounts
  WHEN NOT EXISTS (SELECT 1 FROM prm_users WHERE id = NEW.owner_id AND partner_id = NEW.partner_id)
BEGIN SELECT RAISE(ABORT, 'the owner of an account is a user of its partner'); END;

-- Places in accounts. A special employee has no identity, and an invitee none yet. due_at is when an invitation runs out.
CREATE TABLE prm_members (
  id          TEXT NOT NULL PRIMARY KEY,
  partner_id  TEXT NOT NULL,
  account_id  TEXT NOT NULL,
  kind        TEXT NOT NULL CHECK (kind IN ('employee', 'special', 'external', 'collaborator', 'guest')),
  identity_id TEXT REFERENCES prm_identities (id),
  name        TEXT NOT NULL,
  email       TEXT NOT NULL,
  email_key   TEXT NOT NULL,
  locale      TEXT NOT NULL,
  roles       TEXT NOT NULL,
  state       TEXT NOT NULL CHECK (state IN ('invited', 'lapsed', 'active', 'inactive', 'removed')),
  version     BIGINT NOT NULL,
  due_at      BIGINT NOT NULL,
  entered_at  BIGINT NOT NULL,
  created_at  BIGINT NOT NULL,
  CHECK (kind <> 'special' OR identity_id IS NULL AND state IN ('active', 'inactive', 'removed')),
  CHECK (kind = 'special' OR identity_id IS NOT NULL OR state NOT IN ('active', 'inactive')),
  FOREIGN KEY (partner_id, account_id) REFERENCES prm_accounts (partner_id, id)
);
CREATE UNIQUE INDEX prm_members_person ON prm_members (account_id, identity_id) WHERE identity_id IS NOT NULL AND state <> 'removed';
CREATE UNIQUE INDEX prm_members_address ON prm_members (account_id, email_key) WHERE email_key <> '' AND state <> 'removed';
CREATE INDEX prm_members_by_account ON prm_members (account_id, created_at, id);
CREATE INDEX prm_members_by_identity ON prm_members (identity_id, created_at, id) WHERE identity_id IS NOT NULL;
CREATE INDEX prm_members_due ON prm_members (due_at) WHERE state = 'invited';

-- How much of a limit is in use: places of a kind in an account, or accounts of a type under a partner (account_id is then empty). A row that is not
-- there is made by counting.
CREATE TABLE prm_quotas (
  partner_id TEXT NOT NULL REFERENCES prm_partners (id),
  account_id TEXT NOT NULL,
  kind       TEXT NOT NULL,
  used       BIGINT NOT NULL CHECK (used >= 0),
  PRIMARY KEY (partner_id, account_id, kind)
);

-- A token is a user's or a member's. One of a purpose is open for a person at a time.
CREATE TABLE prm_tokens_2 (
  id         TEXT PRIMARY KEY,
  purpose    TEXT NOT NULL CHECK (purpose IN ('partner', 'user', 'reset', 'open', 'member')),
  partner_id TEXT NOT NULL REFERENCES prm_partners (id),
  user_id    TEXT REFERENCES prm_users (id),
  member_id  TEXT REFERENCES prm_members (id),
  email_key  TEXT NOT NULL,
  inviter    TEXT NOT NULL,
  form       BIGINT NOT NULL,
  rights     BIGINT NOT NULL,
  delivery   TEXT,
  token_hash TEXT NOT NULL UNIQUE,
  state      TEXT NOT NULL CHECK (state IN ('open', 'used', 'void')),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL,
  CHECK ((user_id IS NULL) <> (member_id IS NULL))
);
INSERT INTO prm_tokens_2 (id, purpose, partner_id, user_id, email_key, inviter, form, rights, delivery, token_hash, state, created_at, expires_at, ended_at)
  SELECT id, purpose, partner_id, user_id, email_key, inviter, form, rights, delivery, token_hash, state, created_at, expires_at, ended_at FROM prm_tokens;
DROP TABLE prm_tokens;
ALTER TABLE prm_tokens_2 RENAME TO prm_tokens;
CREATE INDEX prm_tokens_by_user ON prm_tokens (user_id, created_at);
CREATE UNIQUE INDEX prm_tokens_open ON prm_tokens (user_id, purpose) WHERE state = 'open';
CREATE INDEX prm_tokens_due ON prm_tokens (expires_at) WHERE state = 'open';
CREATE UNIQUE INDEX prm_tokens_open_members ON prm_tokens (member_id, purpose) WHERE state = 'open' AND member_id IS NOT NULL;
CREATE INDEX prm_tokens_by_address ON prm_tokens (email_key, partner_id, created_at);
CREATE INDEX prm_tokens_by_member ON prm_tokens (member_id, created_at) WHERE member_id IS NOT NULL;

-- A session in somebody's place in an account: his own, or of a special employee whom the account's owner acts as. It works there and nowhere else.
ALTER TABLE prm_sessions ADD COLUMN member_id TEXT REFERENCES prm_members (id);
ALTER TABLE prm_sessions ADD COLUMN member_kind TEXT NOT NULL DEFAULT '';
ALTER TABLE prm_sessions ADD COLUMN reason TEXT NOT NULL DEFAULT '';
CREATE INDEX prm_sessions_by_member ON prm_sessions (member_id) WHERE member_id IS NOT NULL;
DROP TRIGGER prm_sessions_facts_update;
CREATE TRIGGER prm_sessions_facts_update AFTER UPDATE OF token_hash, identity_id, partner_id, user_id, account_id, active_id, identity_epoch, partner_epoch,
  account_epoch, ends_at, granted_until, roles, delegation_id, member_id, member_kind ON prm_sessions BEGIN UPDATE prm_facts SET number = number + 1; END;

-- An account on its way out, from the request to the receipt. The token is the contact's, for as long as he has the address; next_at is when it is to be
-- looked at again.
CREATE TABLE prm_closings (
  id           TEXT NOT NULL PRIMARY KEY,
  partner_id   TEXT NOT NULL,
  account_id   TEXT NOT NULL,
  state        TEXT NOT NULL CHECK (state IN ('requested', 'cancelled', 'erasing', 'erased', 'done')),
  suspended    BOOLEAN NOT NULL,
  requested_by TEXT NOT NULL,
  requested_at BIGINT NOT NULL,
  reminded_at  BIGINT NOT NULL,
  contact_id   TEXT,
  email_key    TEXT NOT NULL,
  token_hash   TEXT UNIQUE,
  delivery     TEXT,
  expires_at   BIGINT NOT NULL,
  next_at      BIGINT NOT NULL,
  settled_by   TEXT NOT NULL,
  settled_at   BIGINT NOT NULL,
  reason       TEXT NOT NULL,
  deleted_at   BIGINT NOT NULL,
  message      TEXT NOT NULL,
  key_id       TEXT NOT NULL,
  signature    BLOB,
  FOREIGN KEY (partner_id, account_id) REFERENCES prm_accounts (partner_id, id)
);
CREATE UNIQUE INDEX prm_closings_of ON prm_closings (account_id) WHERE state <> 'cancelled';
CREATE INDEX prm_closings_due ON prm_closings (next_at) WHERE state IN ('requested', 'erased');
CREATE INDEX prm_closings_erasing ON prm_closings (settled_at) WHERE state = 'erasing';
CREATE INDEX prm_closings_by_partner ON prm_closings (partner_id, requested_at, id);
CREATE INDEX prm_closings_by_age ON prm_closings (requested_at, id);
CREATE INDEX prm_closings_by_account ON prm_closings (account_id);
-- What an older build has closed waits for its contact, who is reminded of it with a token.
INSERT INTO prm_closings (id, partner_id, account_id, state, suspended, requested_by, requested_at, reminded_at, email_key, expires_at, next_at, settled_by,
  settled_at, reason, deleted_at, message, key_id)
  SELECT 'clo_' || substr(id, 5), partner_id, id, 'requested', FALSE, 'system', 0, 0, '', 0, 0, '', 0, '', 0, '', '' FROM prm_accounts WHERE state = 'closing';

-- Classes of the host's data that some process has an eraser for, and what has become of each in an account: next_at is a lease, or when it is tried
-- again.
CREATE TABLE prm_eraser_classes (
  class      TEXT NOT NULL PRIMARY KEY,
  created_at BIGINT NOT NULL
);
CREATE TABLE prm_erasures (
  closing_id TEXT NOT NULL REFERENCES prm_closings (id),
  class      TEXT NOT NULL,
  partner_id TEXT NOT NULL,
  account_id TEXT NOT NULL,
  next_at    BIGINT NOT NULL,
  failures   BIGINT NOT NULL,
  last_error TEXT NOT NULL,
  erased     BIGINT NOT NULL,
  kept       TEXT NOT NULL,
  done_at    BIGINT NOT NULL,
  PRIMARY KEY (closing_id, class)
);

-- How long an account has been left alone. since is what is known of the last human deed, to_account and to_contact the notices of a stage, told a
-- digest of their addresses, next_at when
-- to look again, never where it is NULL. The row is beside the account because decisions rest on that one.
CREATE TABLE prm_idleness (
  account_id TEXT NOT NULL PRIMARY KEY,
  partner_id TEXT NOT NULL,
  since      BIGINT NOT NULL,
  stage      INTEGER NOT NULL CHECK (stage BETWEEN 0 AND 4),
  sent_at    BIGINT NOT NULL,
  due_at     BIGINT NOT NULL,
  to_account TEXT NOT NULL,
  to_contact TEXT NOT NULL,
  told       TEXT NOT NULL,
  next_at    BIGINT,
  FOREIGN KEY (partner_id, account_id) REFERENCES prm_accounts (partner_id, id)
);
CREATE INDEX prm_idleness_due ON prm_idleness (next_at) WHERE next_at IS NOT NULL;
CREATE INDEX prm_idleness_told ON prm_idleness (next_at) WHERE stage > 0;
-- When organisations were let in again.
CREATE INDEX prm_events_let_in ON prm_events (partner_id, at) WHERE kind IN ('partner.unblocked', 'partner.users_unblocked', 'partner.restored', 'partner.moved');
-- Until now nobody could tell of a use, so that of older accounts is as of today.
INSERT INTO prm_idleness (account_id, partner_id, since, stage, sent_at, due_at, to_account, to_contact, told, next_at)
  SELECT id, partner_id, CAST(strftime('%s', 'now') AS INTEGER) * 1000000, 0, 0, 0, '', '', '', 0 FROM prm_accounts WHERE state <> 'deleted';
