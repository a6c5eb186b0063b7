package partner

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/partnerkit/partnerkit/internal/store"
	"gorm.io/gorm"
)

// A search finds partners by the beginning of what is in some indexes, its arms, and lists them newest first: no index is in both orders. So each
// arm is first asked for a bounded number of what it finds. If that is all there is, the list is of just those; if not, matches are many, and the list
// runs in its own order until the page is full, which is soon unless all of them are old; then they are gathered and sorted. See decision 022.

const (
	maxSearch  = 200
	fewMatches = 1000
	// searchWindow is how many partners a search among many looks through in the list's order before it gathers all that match instead.
	searchWindow = 4000
)

// arm is one thing that partners are found by. All of its SQL compares a column with two bounds, as a range: '_' and '%' mean themselves.
type arm struct {
	key func(search string) string // what the column begins with; empty if none can

	// The partners that it finds: from and to are the statement, with order and a limit between them a part of it.
	from, order, to string
	each            string // whether a partner of the list is one of them; by no index, or SQLite would leave the list's order for it
	times           int    // how often the bounds stand in each
	plain           string // each as the range that it is, if it is one of the row itself: the database has its choice of order
}

var arms = [...]arm{
	{key: nameKey, from: "SELECT id FROM (SELECT id FROM prm_partners WHERE name_key >= ? AND name_key < ?", order: " ORDER BY name_key", to: ") n",
		each: "prm_partners.name_key || '' >= ? AND prm_partners.name_key || '' < ?", times: 1, plain: "prm_partners.name_key >= ? AND prm_partners.name_key < ?"},
	{key: phoneKey, from: "SELECT id FROM (SELECT id FROM prm_partners WHERE phone <> '' AND phone >= ? AND phone < ?", order: " ORDER BY phone", to: ") n",
		each: "prm_partners.phone || '' >= ? AND prm_partners.phone || '' < ?", times: 1,
		plain: "prm_partners.phone <> '' AND prm_partners.phone >= ? AND prm_partners.phone < ?"},
	{key: strings.TrimSpace, from: "SELECT partner_id AS id FROM (SELECT partner_id FROM prm_partner_tax_ids WHERE value >= ? AND value < ?", order: " ORDER BY value", to: ") n",
		// No EXISTS, here and below: PostgreSQL would rather gather all that there is than look for one.
		each: "COALESCE((SELECT 1 FROM prm_partner_tax_ids t WHERE t.partner_id = prm_partners.id AND t.value >= ? AND t.value < ? LIMIT 1), 0) = 1", times: 1},
	{key: loginKey, from: `SELECT COALESCE(u.partner_id, a.partner_id) AS id FROM (SELECT id FROM prm_identities WHERE login_key >= ? AND login_key < ?`,
		order: " ORDER BY login_key", to: ") n LEFT JOIN prm_users u ON u.identity_id = n.id LEFT JOIN prm_accounts a ON a.identity_id = n.id",
		// Each log-in is looked up by itself, or PostgreSQL would begin with all that begin so.
		each: `COALESCE((SELECT 1 FROM prm_users u WHERE u.partner_id = prm_partners.id
			AND (SELECT login_key >= ? AND login_key < ? FROM prm_identities WHERE id = u.identity_id) LIMIT 1),
			(SELECT 1 FROM prm_accounts a WHERE a.partner_id = prm_partners.id
			AND (SELECT login_key >= ? AND login_key < ? FROM prm_identities WHERE id = a.identity_id) LIMIT 1), 0) = 1`, times: 2},
}

// byName is the arm that finds what a reader sees of an organisation that he does not see whole.
const byName = 0

// armLimits bound what an arm is asked for. One partner can have thousands of log-ins that begin alike, so more is asked for while what was found
// is of few.
var armLimits = [...]struct {
	text string
	rows int64
}{{" LIMIT 1001", 1_001}, {" LIMIT 10010", 10_010}, {" LIMIT 100100", 100_100}}

// search checks what a list is searched by.
func (c *checks) search(text string) { c.text("search", text, false, maxSearch) }

// phoneKey is how an E.164 number begins that begins as typed; empty if none can.
func phoneKey(search string) string {
	digits := strings.Map(func(r rune) rune {
		if strings.ContainsRune(" -.()", r) {
			return -1
		}
		return r
	}, search)
	digits = strings.TrimPrefix(digits, "+")
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return ""
	}
	return "+" + digits
}

// afterAll is the least text behind all that begin with key, in the order of bytes, which is that of code points; empty if there is none.
func afterAll(key string) string {
	for key != "" {
		last, size := utf8.DecodeLastRuneInString(key)
		key = key[:len(key)-size]
		switch next := last + 1; {
		case next == 0xd800: // no text has those up to 0xe000
			return key + "\ue000"
		case next <= utf8.MaxRune:
			return key + string(next)
		}
	}
	return ""
}

// hunt is a search on its way.
type hunt struct {
	bounds [len(arms)][]any // of each arm; nil for those that it does not look by
	found  []string         // partners found by arms that find few
	ids    *store.Rows      // found, for a statement: one of a thousand parameters would be compared with each of them
	many   []int            // arms that find more
}

// hunt asks the arms. Of organisations that the actor sees not whole, it looks at the name alone: a search would tell a phone number otherwise.
func (s *Standing) hunt(tx *store.Tx, search string) (*hunt, error) {
	h := &hunt{}
	for i := range arms {
		if key := arms[i].key(search); key != "" {
			h.bounds[i] = []any{key, afterAll(key)}
		}
	}
	if !s.IsVendor() && !s.Partner.ManagesSubPartners {
		q := h.each(tx.From(store.OfPartner(s.Partner.ID), partnersTable), true)
		n, err := tx.Count(q)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			h.found = append(h.found, s.Partner.ID)
		}
		clear(h.bounds[byName+1:])
	}
	for i := range arms {
		if err := h.ask(tx, i); err != nil {
			return nil, err
		}
	}
	slices.Sort(h.found)
	h.found = slices.Compact(h.found)
	h.ids = tx.Rows(idColumns)
	for _, id := range h.found {
		h.ids.Add(id)
	}
	return h, nil
}

// ask asks one arm.
func (h *hunt) ask(tx *store.Tx, i int) error {
	if h.bounds[i] == nil {
		return nil
	}
	for round := range armLimits {
		var found []struct {
			ID string
			N  int64
		}
		err := tx.Query(deciding, &found, "SELECT id, count(*) AS n FROM ("+arms[i].from+arms[i].order+armLimits[round].text+arms[i].to+") x GROUP BY id", h.bounds[i]...)
		if err != nil {
			return err
		}
		rows := int64(0)
		for _, f := range found {
			rows += f.N
		}
		if len(found) > fewMatches {
			break
		}
		if rows < armLimits[round].rows {
			for _, f := range found {
				h.found = append(h.found, f.ID)
			}
			return nil
		}
	}
	h.many = append(h.many, i)
	return nil
}

// few tells whether all that matches is in found.
func (h *hunt) few() bool { return len(h.many) == 0 && len(h.found) <= fewMatches }

// each narrows q to matches, looked at one by one: by all arms, or by those that find many and what the others have found.
func (h *hunt) each(q *gorm.DB, all bool) *gorm.DB {
	match, args := "FALSE", []any{}
	if len(h.found) > 0 && !all {
		match += " OR id IN (SELECT x.id FROM " + h.ids.SQL() + ")"
		args = append(args, h.ids.Args()...)
	}
	for i := range arms {
		if h.bounds[i] == nil || !all && !slices.Contains(h.many, i) {
			continue
		}
		match += " OR " + arms[i].each
		for range arms[i].times {
			args = append(args, h.bounds[i]...)
		}
	}
	return q.Where("("+match+")", args...)
}

// gathered narrows q to matches that may be far behind: by their own ranges, or else gathered beforehand, for PostgreSQL cannot be trusted with a
// set that stands beside something else.
func (h *hunt) gathered(q *gorm.DB) *gorm.DB {
	if len(h.found) == 0 && !slices.ContainsFunc(h.many, func(i int) bool { return arms[i].plain == "" }) {
		match, args := "FALSE", []any{}
		for _, i := range h.many {
			match += " OR " + arms[i].plain
			args = append(args, h.bounds[i]...)
		}
		return q.Where("("+match+")", args...)
	}
	match, args := "SELECT x.id FROM "+h.ids.SQL(), h.ids.Args()
	for _, i := range h.many {
		match += " UNION ALL " + arms[i].from + arms[i].to
		args = append(args, h.bounds[i]...)
	}
	return q.Where("id IN ("+match+")", args...)
}

// searched is a page of what matches; list makes the list that is searched.
func (s *Standing) searched(tx *store.Tx, search string, at pageOf, list func() *gorm.DB) (rows []partnerRow, err error) {
	page := func(q *gorm.DB) error {
		rows = nil
		return tx.Find(store.After(q, partnersTable, "created_at", at.place, at.started, at.limit), &rows)
	}
	h, err := s.hunt(tx, search)
	if err != nil {
		return nil, err
	}
	if h.few() {
		err = page(list().Where("id IN (SELECT x.id FROM "+h.ids.SQL()+")", h.ids.Args()...))
		return rows, err
	}
	var end []partnerRow // of the window
	size := searchWindow + at.limit
	q := store.After(list(), partnersTable, "created_at", at.place, at.started, size).Offset(size - 1).Limit(1).Select("id, created_at")
	if err := tx.Find(q, &end); err != nil {
		return nil, err
	}
	q = h.each(list(), false)
	if len(end) > 0 {
		q = q.Where("(prm_partners.created_at, prm_partners.id) >= (?, ?)", end[0].CreatedAt, end[0].ID)
	}
	if err := page(q); err != nil || len(rows) > at.limit || len(end) == 0 {
		return rows, err
	}
	err = page(h.gathered(list()))
	return rows, err
}
