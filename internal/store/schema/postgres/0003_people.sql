-- What an agreement says beside money: tax ids, VAT, codes of the host's reference data, the password policy; and what it said before. What
-- a user may do, and with which accounts.
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

-- rights are bits; scope is account ids, each between two spaces, or empty for all. A place that has ended has no use for its identity any
-- more, which may find another one.
ALTER TABLE prm_users
  ADD COLUMN rights   BIGINT NOT NULL DEFAULT 0,
  ADD COLUMN scope    TEXT NOT NULL DEFAULT '',
  ADD COLUMN phone    TEXT NOT NULL DEFAULT '',
  ADD COLUMN locale   TEXT NOT NULL DEFAULT '',
  ADD COLUMN ended_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX prm_users_by_partner ON prm_users (partner_id, created_at, id);
