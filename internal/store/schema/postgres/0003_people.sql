-- What an agreement says beside money: tax ids, VAT, codes of the host's reference data, the password policy; and what it said before. What
-- a user may do, and with which accounts. How mail is delivered, and what the tokens in it are for. What partners are found by.
-- compatible_from: 3

ALTER TABLE prm_partners
  ADD COLUMN region            TEXT NOT NULL DEFAULT '',
  ADD COLUMN organisation_type TEXT NOT NULL DEFAULT '',
  ADD COLUMN vat               INTEGER CHECK (vat BETWEEN 0 AND 10000),
  ADD COLUMN password_policy   TEXT NOT NULL DEFAULT 'simple' CHECK (password_policy IN ('simple', 'complex')),
  ADD COLUMN note              TEXT NOT NULL DEFAULT '';

CREATE TABLE prm_partner_tax_ids (
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  scheme     TEXT COLLATE "C" NOT NULL,
  value      TEXT COLLATE "C" NOT NULL,
  PRIMARY KEY (partner_id, scheme)
);
CREATE INDEX prm_partner_tax_ids_by_value ON prm_partner_tax_ids (value, scheme);

-- Each row holds from from_at until the next one of the partner.
CREATE TABLE prm_partner_terms (
  partner_id      TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  from_at         BIGINT NOT NULL,
  parent_id       TEXT COLLATE "C",
  vat             INTEGER,
  currency        TEXT NOT NULL,
  more_currencies TEXT NOT NULL,
  PRIMARY KEY (partner_id, from_at)
);
INSERT INTO prm_partner_terms (partner_id, from_at, parent_id, vat, currency, more_currencies)
  SELECT id, created_at, parent_id, NULL, currency, more_currencies FROM prm_partners WHERE id <> 'prt_vendor';

-- Pictures for the partner's pages, one of a purpose.
CREATE TABLE prm_partner_logos (
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  purpose    TEXT COLLATE "C" NOT NULL CHECK (purpose IN ('square', 'wide', 'dark')),
  media_type TEXT COLLATE "C" NOT NULL CHECK (media_type IN ('image/png', 'image/jpeg', 'image/webp')),
  image      BYTEA NOT NULL CHECK (length(image) BETWEEN 1 AND 1048576),
  PRIMARY KEY (partner_id, purpose)
);

-- What the vendor has certified. A fact holds from from_at to before ends_at: its until_at, or when it was revoked; an open one ends at the
-- end of time. What never held ends where it begins.
CREATE TABLE prm_certifications (
  id             TEXT COLLATE "C" PRIMARY KEY,
  partner_id     TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  programme      TEXT COLLATE "C" NOT NULL,
  from_at        BIGINT NOT NULL,
  until_at       BIGINT NOT NULL CHECK (until_at = 0 OR until_at > from_at),
  ends_at        BIGINT NOT NULL CHECK (ends_at >= from_at),
  reason         TEXT NOT NULL,
  created_by     TEXT NOT NULL,
  revoked_at     BIGINT NOT NULL DEFAULT 0,
  revoked_by     TEXT NOT NULL DEFAULT '',
  revoked_reason TEXT NOT NULL DEFAULT '',
  lapsed         BOOLEAN NOT NULL DEFAULT FALSE,
  created_at     BIGINT NOT NULL
);
CREATE INDEX prm_certifications_by_programme ON prm_certifications (partner_id, programme, from_at);
CREATE INDEX prm_certifications_by_partner ON prm_certifications (partner_id, created_at, id);
CREATE INDEX prm_certifications_due ON prm_certifications (ends_at) WHERE NOT lapsed AND revoked_at = 0;

-- rights are bits; scope is account ids, each between two spaces, or empty for all. A place that has ended has no use for its identity any
-- more, which may find another one.
ALTER TABLE prm_users
  ADD COLUMN rights   BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN scope    TEXT NOT NULL DEFAULT '',
  ADD COLUMN phone    TEXT NOT NULL DEFAULT '',
  ADD COLUMN locale   TEXT NOT NULL DEFAULT '',
  ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX prm_users_by_partner ON prm_users (partner_id, created_at, id);

-- A delivery says what is its receiver's alone to know in payload, sealed if the host gave a sealer; it is wiped when the delivery is done.
ALTER TABLE prm_deliveries
  ADD COLUMN payload    TEXT NOT NULL DEFAULT '',
  ADD COLUMN failures   BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN owner      TEXT NOT NULL DEFAULT '',
  ADD COLUMN last_error TEXT NOT NULL DEFAULT '',
  ADD COLUMN tries      BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN alone      BOOLEAN NOT NULL DEFAULT FALSE,
  ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN done_at    BIGINT NOT NULL DEFAULT 0;
DELETE FROM prm_deliveries WHERE template = 'welcome'; -- without a token, which Reinvite sends
UPDATE prm_deliveries SET payload = CAST(json_build_object('to', address, 'data', json_build_object(
  'partner', (SELECT name FROM prm_partners WHERE id = partner_id), 'project', (SELECT name FROM prm_accounts WHERE id = account_id))) AS TEXT);
ALTER TABLE prm_deliveries DROP COLUMN address;
-- A delivery changes twice, and each index that keeps a row then costs; so lists go by the id, which begins with the time.
DROP INDEX prm_deliveries_due;
DROP INDEX prm_deliveries_by_age;
CREATE INDEX prm_deliveries_due ON prm_deliveries (next_at) WHERE state = 'ready';
CREATE INDEX prm_deliveries_leased ON prm_deliveries (next_at) WHERE state = 'leased';
CREATE INDEX prm_deliveries_expiring ON prm_deliveries (expires_at) WHERE expires_at > 0 AND state IN ('ready', 'dead');
CREATE INDEX prm_deliveries_dead ON prm_deliveries (id) WHERE state = 'dead';
CREATE INDEX prm_deliveries_done ON prm_deliveries (done_at) WHERE state = 'done';

-- Single-use tokens: invitations, and new passwords. One of a purpose is open for a user at a time.
CREATE TABLE prm_tokens (
  id         TEXT COLLATE "C" PRIMARY KEY,
  purpose    TEXT NOT NULL CHECK (purpose IN ('partner', 'user', 'reset')),
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  user_id    TEXT COLLATE "C" NOT NULL REFERENCES prm_users (id),
  email_key  TEXT NOT NULL,
  inviter    TEXT NOT NULL,
  form       BIGINT NOT NULL,
  rights     BIGINT NOT NULL,
  delivery   TEXT COLLATE "C",
  token_hash TEXT COLLATE "C" NOT NULL UNIQUE,
  state      TEXT NOT NULL CHECK (state IN ('open', 'used', 'void')),
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  ended_at   BIGINT NOT NULL
);
CREATE INDEX prm_tokens_by_user ON prm_tokens (user_id, created_at);
CREATE UNIQUE INDEX prm_tokens_open ON prm_tokens (user_id, purpose) WHERE state = 'open';
CREATE INDEX prm_tokens_due ON prm_tokens (expires_at) WHERE state = 'open';

-- Who was invited has no log-in yet. An address that is proved is one person's.
ALTER TABLE prm_users ADD COLUMN invited BOOLEAN NOT NULL DEFAULT FALSE;
UPDATE prm_users SET invited = TRUE WHERE partner_id IN (SELECT id FROM prm_partners WHERE state = 'pending');
CREATE UNIQUE INDEX prm_identities_proved ON prm_identities (email_key) WHERE email_verified AND email_key <> '';

CREATE INDEX prm_partners_pending ON prm_partners (created_at) WHERE state = 'pending';

-- Questionnaires by kind; and what a partner answered when it accepted its invitation, which nobody changes.
CREATE TABLE prm_forms (
  kind       TEXT COLLATE "C" NOT NULL,
  version    BIGINT NOT NULL,
  schema     TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  PRIMARY KEY (kind, version)
);
CREATE TABLE prm_partner_profiles (
  partner_id TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES prm_partners (id),
  version    BIGINT NOT NULL,
  answers    TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE TRIGGER prm_partner_profiles_no_update BEFORE UPDATE ON prm_partner_profiles FOR EACH STATEMENT EXECUTE FUNCTION prm_append_only();

-- Sealed copies of passwords that a partner's admins may look at.
ALTER TABLE prm_partners ADD COLUMN show_passwords BOOLEAN NOT NULL DEFAULT FALSE;
CREATE TABLE prm_shown_passwords (
  user_id    TEXT COLLATE "C" NOT NULL PRIMARY KEY REFERENCES prm_users (id),
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  sealed     TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX prm_shown_passwords_by_partner ON prm_shown_passwords (partner_id);

-- Log-ins that others verify.
CREATE TABLE prm_outside_logins (
  issuer      TEXT COLLATE "C" NOT NULL,
  subject     TEXT COLLATE "C" NOT NULL,
  identity_id TEXT COLLATE "C" NOT NULL REFERENCES prm_identities (id),
  created_at  BIGINT NOT NULL,
  PRIMARY KEY (issuer, subject)
);
CREATE INDEX prm_outside_logins_by_identity ON prm_outside_logins (identity_id);

-- Partners are found by the beginning of a phone number too, and lists count their accounts.
ALTER TABLE prm_partners ALTER COLUMN phone TYPE TEXT COLLATE "C";
CREATE INDEX prm_partners_by_phone ON prm_partners (phone) WHERE phone <> '';
CREATE INDEX prm_accounts_there ON prm_accounts (partner_id) WHERE state <> 'deleted';

-- What the vendor calls a partner, and when. Of several that hold at an instant the newest does; an empty one is none.
CREATE TABLE prm_tiers (
  id         TEXT COLLATE "C" PRIMARY KEY,
  partner_id TEXT COLLATE "C" NOT NULL REFERENCES prm_partners (id),
  tier       TEXT NOT NULL,
  from_at    BIGINT NOT NULL,
  until_at   BIGINT NOT NULL CHECK (until_at = 0 OR until_at > from_at),
  reason     TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX prm_tiers_by_partner ON prm_tiers (partner_id, created_at, id);

-- The customer that a project is for, in the host's words or billing's; and partner users whom he lets into it for a time. due_at is when that
-- runs out, or a request lapses.
ALTER TABLE prm_accounts ADD COLUMN customer TEXT COLLATE "C" NOT NULL DEFAULT '';
CREATE TABLE prm_delegations (
  id         TEXT COLLATE "C" PRIMARY KEY,
  partner_id TEXT COLLATE "C" NOT NULL,
  account_id TEXT COLLATE "C" NOT NULL,
  customer   TEXT COLLATE "C" NOT NULL,
  user_id    TEXT COLLATE "C" NOT NULL REFERENCES prm_users (id),
  roles      TEXT NOT NULL,
  from_at    BIGINT NOT NULL,
  until_at   BIGINT NOT NULL CHECK (until_at > from_at),
  due_at     BIGINT NOT NULL,
  state      TEXT NOT NULL CHECK (state IN ('requested', 'approved', 'refused', 'lapsed', 'expired', 'revoked')),
  decided_at BIGINT NOT NULL DEFAULT 0,
  created_at BIGINT NOT NULL,
  FOREIGN KEY (partner_id, account_id) REFERENCES prm_accounts (partner_id, id)
);
CREATE UNIQUE INDEX prm_delegations_requested ON prm_delegations (account_id, user_id) WHERE state = 'requested';
CREATE INDEX prm_delegations_by_account ON prm_delegations (account_id, created_at, id);
CREATE INDEX prm_delegations_by_partner ON prm_delegations (partner_id, created_at, id);
CREATE INDEX prm_delegations_by_customer ON prm_delegations (customer, created_at, id);
CREATE INDEX prm_delegations_by_user ON prm_delegations (user_id, created_at, id);
CREATE INDEX prm_delegations_by_age ON prm_delegations (created_at, id);
CREATE INDEX prm_delegations_due ON prm_delegations (due_at) WHERE state IN ('requested', 'approved');

-- A delegated session works in active_id and nowhere else, and goes with the one that it was opened in; account_epoch is then the account's and its partner's users' together.
ALTER TABLE prm_sessions ADD COLUMN delegation_id TEXT COLLATE "C" REFERENCES prm_delegations (id);
ALTER TABLE prm_sessions ADD COLUMN opener_id TEXT COLLATE "C" REFERENCES prm_sessions (id) ON DELETE CASCADE;
ALTER TABLE prm_sessions ADD COLUMN granted_until BIGINT NOT NULL DEFAULT 0;
ALTER TABLE prm_sessions ADD COLUMN roles TEXT NOT NULL DEFAULT '';
CREATE INDEX prm_sessions_delegated ON prm_sessions (active_id) WHERE delegation_id IS NOT NULL;
CREATE INDEX prm_sessions_by_opener ON prm_sessions (opener_id) WHERE opener_id IS NOT NULL;
CREATE INDEX prm_sessions_by_delegation ON prm_sessions (delegation_id) WHERE delegation_id IS NOT NULL;
