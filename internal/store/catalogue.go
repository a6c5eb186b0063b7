package store

// Table is one entry of the catalogue: who owns its rows, and what in them is personal or secret. Scopes, the canary scan, the
// isolation test and, later, dump and erasure are generated from it; a test fails when a migration adds a column it lacks.
type Table struct {
	Name     string
	Partner  string   // column naming the owning partner; empty if the table has no tenant
	Account  string   // column naming the account, for rows that one account may see
	Customer string   // column naming the customer, for rows that he may see
	Columns  []string // all others
	Personal []string // data about people: goes when the account or partner is erased
	Secret   []string // never leaves the SDK: hashes, tokens, sealed copies
	Keeps    string   // what stays after erasure, and why
}

const partnersTable = "prm_partners"

// Tables returns the catalogue in the order of the schema.
func Tables() []Table { return tables }

var tables = []Table{
	{
		Name:    "prm_schema_migrations",
		Columns: []string{"version", "name", "compatible_from", "applied_at"},
		Keeps:   "everything: it holds no data of anybody",
	},
	{
		Name:    "prm_locks",
		Columns: []string{"name"},
		Keeps:   "everything: rows to lock, nothing else",
	},
	{
		Name:    partnersTable,
		Partner: "id",
		Columns: []string{"parent_id", "path", "depth", "state", "version", "created_at", "locale", "currency", "more_currencies",
			"resell", "build", "operate", "manages_sub_partners", "own_blocks", "own_cascade", "own_inherited", "own_epoch",
			"users_blocks", "users_cascade", "users_inherited", "users_epoch", "contact_id",
			"region", "organisation_type", "vat", "password_policy", "show_passwords"},
		Personal: []string{"name", "name_key", "email", "phone", "note"},
		Keeps:    "the row: documents and ledger entries refer to it",
	},
	{
		Name:     "prm_partner_tax_ids",
		Partner:  "partner_id",
		Columns:  []string{"scheme"},
		Personal: []string{"value"},
		Keeps:    "nothing: it goes with its partner",
	},
	{
		Name:    "prm_partner_terms",
		Partner: "partner_id",
		Columns: []string{"from_at", "parent_id", "vat", "currency", "more_currencies"},
		Keeps:   "everything: documents of the past refer to it",
	},
	{
		Name:     "prm_partner_logos",
		Partner:  "partner_id",
		Columns:  []string{"purpose", "media_type"},
		Personal: []string{"image"},
		Keeps:    "nothing: it goes with its partner",
	},
	{
		Name:    "prm_certifications",
		Partner: "partner_id",
		Columns: []string{"id", "programme", "from_at", "until_at", "ends_at", "reason", "created_by", "revoked_at", "revoked_by", "revoked_reason", "lapsed",
			"created_at"},
		Keeps: "everything: what was built rests on it; hosts keep personal data out of reasons",
	},
	{
		Name:    "prm_tiers",
		Partner: "partner_id",
		Columns: []string{"id", "tier", "from_at", "until_at", "reason", "created_by", "created_at"},
		Keeps:   "everything: what was sold under it rests on it; hosts keep personal data out of reasons",
	},
	{
		Name:     "prm_partner_profiles",
		Partner:  "partner_id",
		Columns:  []string{"version", "created_at"},
		Personal: []string{"answers"},
		Keeps:    "nothing: it goes with its partner",
	},
	{
		Name:    "prm_forms",
		Columns: []string{"kind", "version", "schema", "created_at"},
		Keeps:   "everything: it is the vendor's",
	},
	{
		Name:     "prm_identities",
		Columns:  []string{"id", "kind", "email_verified", "epoch", "version", "created_at"},
		Personal: []string{"login", "login_key", "email", "email_key"},
		Secret:   []string{"password_hash"},
		Keeps:    "the id: sessions and traces refer to it",
	},
	{
		Name:     "prm_users",
		Partner:  "partner_id",
		Columns:  []string{"id", "identity_id", "role", "disabled", "version", "created_at", "rights", "scope", "locale", "ended_at", "invited"},
		Personal: []string{"name", "phone"},
		Keeps:    "the id: the audit names it",
	},
	{
		Name:     "prm_accounts",
		Partner:  "partner_id",
		Account:  "id",
		Customer: "customer",
		Columns: []string{"type", "identity_id", "owner_id", "state", "blocks", "denies", "epoch", "region", "country", "locale", "version",
			"created_at"},
		Personal: []string{"name", "name_key", "email", "company", "phone"},
		Keeps:    "the id as pseudonym: ledger and audit balance on it",
	},
	{
		Name: "prm_account_types",
		Columns: []string{"code", "ceiling", "employees", "special_employees", "external_users", "collaborators", "guests", "max_per_partner",
			"certified_only", "denies", "leftovers", "idle", "grace", "last_notice", "version", "created_at"},
		Keeps: "everything: it is the vendor's",
	},
	{
		Name:    "prm_closings",
		Partner: "partner_id",
		Account: "account_id",
		Columns: []string{"id", "state", "suspended", "requested_by", "requested_at", "reminded_at", "contact_id", "delivery", "expires_at", "next_at",
			"settled_by", "settled_at", "reason", "deleted_at", "message", "key_id", "signature"},
		Personal: []string{"email_key"},
		Secret:   []string{"token_hash"},
		Keeps:    "the row: it is the proof that the account was erased; hosts keep personal data out of reasons",
	},
	{
		Name:    "prm_idleness",
		Partner: "partner_id",
		Account: "account_id",
		Columns: []string{"since", "stage", "sent_at", "due_at", "to_account", "to_contact", "told", "next_at"},
		Keeps:   "nothing: it goes with its account",
	},
	{
		Name:    "prm_eraser_classes",
		Columns: []string{"class", "created_at"},
		Keeps:   "everything: it is the host's words for kinds of data",
	},
	{
		Name:     "prm_erasures",
		Partner:  "partner_id",
		Account:  "account_id",
		Columns:  []string{"closing_id", "class", "next_at", "failures", "erased", "kept", "done_at"},
		Personal: []string{"last_error"},
		Keeps:    "classes and counts: the receipt rests on them",
	},
	{
		Name:     "prm_members",
		Partner:  "partner_id",
		Account:  "account_id",
		Columns:  []string{"id", "kind", "identity_id", "locale", "roles", "state", "version", "due_at", "entered_at", "created_at"},
		Personal: []string{"name", "email", "email_key"},
		Keeps:    "the id: the audit names it",
	},
	{
		Name:    "prm_quotas",
		Partner: "partner_id",
		Account: "account_id",
		Columns: []string{"kind", "used"},
		Keeps:   "nothing: it goes with its account",
	},
	{
		Name:    "prm_sessions",
		Partner: "partner_id",
		Account: "account_id",
		Columns: []string{"id", "identity_id", "user_id", "active_id", "identity_epoch", "partner_epoch", "account_epoch",
			"created_at", "seen_at", "ends_at", "delegation_id", "opener_id", "granted_until", "roles", "member_id", "member_kind", "reason"},
		Secret: []string{"token_hash"},
		Keeps:  "nothing: it goes with its identity",
	},
	{
		Name:     "prm_delegations",
		Partner:  "partner_id",
		Account:  "account_id",
		Customer: "customer",
		Columns:  []string{"id", "user_id", "roles", "from_at", "until_at", "due_at", "state", "decided_at", "created_at"},
		Keeps:    "nothing: it goes with its account; the audit says who was let in and when",
	},
	{
		Name:     "prm_throttles",
		Columns:  []string{"failures", "next_at", "updated_at"},
		Personal: []string{"key"},
		Keeps:    "nothing: rows lapse after a day",
	},
	{
		Name:     "prm_known_sources",
		Columns:  []string{"identity_id", "seen_at"},
		Personal: []string{"source"},
		Keeps:    "nothing: it goes with its identity",
	},
	{
		Name:    "prm_contracts",
		Partner: "partner_id",
		Account: "account_id",
		Columns: []string{"id", "number", "currency", "billing_model", "blocking_limit", "from_at", "until_at", "version", "created_at"},
		Keeps:   "everything: money entries refer to it",
	},
	{
		Name:    "prm_events",
		Partner: "partner_id",
		Account: "account_id",
		Columns: []string{"id", "at", "kind", "actor", "subject", "target", "changed"},
		Keeps:   "everything: it holds ids and field names, never values",
	},
	{
		Name:     "prm_deliveries",
		Partner:  "partner_id",
		Account:  "account_id",
		Columns:  []string{"id", "event_id", "template", "region", "state", "attempt", "failures", "tries", "alone", "next_at", "owner", "last_error", "created_at", "expires_at", "done_at"},
		Personal: []string{"payload"},
		Keeps:    "nothing: finished rows are purged, an erased account's go at once",
	},
	{
		Name:     "prm_tokens",
		Partner:  "partner_id",
		Columns:  []string{"id", "purpose", "user_id", "member_id", "inviter", "form", "rights", "delivery", "state", "created_at", "expires_at", "ended_at"},
		Personal: []string{"email_key"},
		Secret:   []string{"token_hash"},
		Keeps:    "nothing: it goes with its user",
	},
	{
		Name:     "prm_outside_logins",
		Columns:  []string{"issuer", "identity_id", "created_at"},
		Personal: []string{"subject"},
		Keeps:    "nothing: it goes with its identity",
	},
	{
		Name:    "prm_shown_passwords",
		Partner: "partner_id",
		Columns: []string{"user_id", "created_at"},
		Secret:  []string{"sealed"},
		Keeps:   "nothing: it goes with its user",
	},
	{
		Name:     "prm_keys",
		Partner:  "partner_id",
		Columns:  []string{"verb", "result", "created_at"},
		Personal: []string{"key", "hash"},
		Keeps:    "nothing: a key outlives its account only as long as it can be repeated",
	},
	{
		Name:    "prm_license_types",
		Columns: []string{"sku", "name", "retired", "version", "created_at"},
		Keeps:   "everything: it is the vendor's catalogue",
	},
	{
		Name:    "prm_license_requests",
		Partner: "partner_id",
		Columns: []string{"id", "sku", "quantity", "reason", "asked_by", "state", "answer", "decided_by", "key", "hash", "created_at", "decided_at"},
		Keeps:   "everything: who asked for what, and what was answered; hosts keep personal data out of reasons",
	},
	{
		Name:    "prm_ledger_balances",
		Partner: "partner_id",
		Columns: []string{"id", "book", "owner", "unit", "state", "lot", "amount", "bounded", "recorded", "lots", "seats", "cap", "due", "stated"},
		Keeps:   "everything: pseudonymous ids and quantities",
	},
	{
		Name:    "prm_ledger_transfers",
		Partner: "partner_id",
		Columns: []string{"id", "book", "unit", "verb", "quantity", "from_id", "to_id", "from_after", "to_after", "actor", "reason",
			"key", "hash", "effective", "recorded", "part", "parts", "from_total", "to_total", "corrects"},
		Keeps: "everything: the ledger is append-only; hosts keep personal data out of reasons and keys",
	},
	{
		Name:    "prm_ledger_lots",
		Partner: "partner_id",
		Columns: []string{"id", "book", "unit", "valid_from", "valid_until", "created_at"},
		Keeps:   "everything: the ledger refers to it",
	},
	{
		Name:    "prm_ledger_reservations",
		Partner: "partner_id",
		Columns: []string{"id", "book", "owner", "unit", "key", "quantity", "state", "expires", "created_at", "ended_at"},
		Keeps:   "everything: pseudonymous ids and quantities",
	},
	{
		Name:     "prm_ledger_seats",
		Partner:  "partner_id",
		Columns:  []string{"id", "book", "owner", "unit", "since", "ended_at"},
		Personal: []string{"person", "person_key"},
		Keeps:    "nothing: a seat goes with its account",
	},
}

// catalogue finds a table by its name.
var catalogue = func() map[string]Table {
	m := make(map[string]Table, len(tables))
	for _, t := range tables {
		m[t.Name] = t
	}
	return m
}()
