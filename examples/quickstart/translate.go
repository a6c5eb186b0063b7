package main

import (
	"cmp"
	"context"
	"strconv"
	"strings"

	"github.com/partnerkit/partnerkit/partner"
)

// thing is a row on its way: what is to be made of it, then what was.
type thing struct {
	row
	agreement partner.Agreement // of an account
	parent    string            // its name
	project   partner.NewProject

	partner  partner.Partner
	assigned int
}

func (i *importer) translate(ctx context.Context, r row) thing {
	if r.kind == contact {
		return i.customer(ctx, r)
	}
	return i.organisation(ctx, r)
}

// organisation makes an invitation of an account.
func (i *importer) organisation(ctx context.Context, r row) thing {
	m := thing{row: r, parent: r.cells["parentname"]}
	c := r.cells
	m.agreement = partner.Agreement{
		Name: c["name"], Phone: c["phone"], Locale: c["locale"],
		Login:          cmp.Or(c["login"], i.names.logins.free(cmp.Or(slug(c["name"]), "partner"), "-")),
		Currency:       cmp.Or(c["currency"], i.currency),
		MoreCurrencies: strings.FieldsFunc(c["morecurrencies"], func(r rune) bool { return strings.ContainsRune(" ,;", r) }),
		Deposit:        m.amount("deposit", "deposit"),
		BillingModel:   c["billingmodel"],
		BlockingLimit:  m.amount("blockinglimit", "blocking_limit"),
		ContractNumber: c["contractnumber"],
	}
	m.agreement.Email = i.email(c["email"], m.agreement.Login)
	// Prepare says what Invite would, without a transaction: here whether the SDK can read the phone number.
	if _, err := i.reg.Partners.Prepare(ctx, m.agreement); faulty(err, "phone") {
		m.agreement.Phone = ""
		i.notes.add("phone numbers left out, not in international form (+…)")
	}
	return m
}

// customer makes a project of a contact. Without a password nobody can log in to it until Acme sets one.
func (i *importer) customer(ctx context.Context, r row) thing {
	m := thing{row: r}
	c := r.cells
	name := strings.TrimSpace(c["firstname"] + " " + c["lastname"])
	m.project = partner.NewProject{
		Name: i.names.projects.free(name, " "), Company: cmp.Or(c["company"], c["lastname"], name), Country: c["mailingcountry"],
		Phone: cmp.Or(c["phone"], c["mobilephone"]), Locale: c["locale"],
		Login: cmp.Or(c["login"], i.names.logins.free(cmp.Or(slug(name), "customer"), "-")),
	}
	m.project.Email = i.email(c["email"], m.project.Login)
	_, err := i.reg.Accounts.Prepare(ctx, m.project)
	if faulty(err, "country") {
		m.project.Country = "DE"
		i.notes.add("contacts without an ISO country code, now in DE")
	}
	if faulty(err, "phone") {
		m.project.Phone = ""
		i.notes.add("phone numbers left out, not in international form (+…)")
	}
	return m
}

// amount reads minor units of money.
func (m *thing) amount(column, path string) int64 {
	text := m.cells[column]
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		m.fault(path, "format", "must be a whole number of minor units, as 1999 for 19.99")
	}
	return n
}

// email is the one given, or a stand-in that nobody reads.
func (i *importer) email(given, login string) string {
	if given != "" {
		return given
	}
	if strings.Contains(login, "@") {
		return login // it can be no other
	}
	i.notes.add("rows without Email, now log-in@import.example")
	return cmp.Or(slug(login), "nobody") + "@import.example"
}

// faulty tells whether the SDK found fault with one field.
func faulty(err error, path string) bool {
	for _, f := range faultsOf(err) {
		if f.Path == path {
			return true
		}
	}
	return false
}
