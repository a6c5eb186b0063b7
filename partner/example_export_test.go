package partner_test

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"github.com/partnerkit/partnerkit/partner"
)

func ExamplePartners_Archive() {
	_, reg, done := fresh()
	defer done()
	org, me := acme(reg)
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	check(reg.Partners.Archive(vendor, org.ID))
	_, err := reg.Accounts.List(me, partner.AccountFilter{}, partner.PageRequest{})
	if blocked := (*partner.BlockedError)(nil); errors.As(err, &blocked) {
		fmt.Println(blocked.Reasons)
	}
	page, err := reg.Partners.List(vendor, partner.PartnerFilter{}, partner.PageRequest{})
	check(err)
	fmt.Println(len(page.Items), "in the list")

	check(reg.Partners.Restore(vendor, org.ID))
	page, err = reg.Partners.List(vendor, partner.PartnerFilter{Search: "acme int"}, partner.PageRequest{})
	check(err)
	fmt.Println(page.Items[0].Name, page.Items[0].State)
	// Output:
	// [archived]
	// 0 in the list
	// Acme Integrators active
}

func ExamplePartners_Export() {
	_, reg, done := fresh()
	defer done()
	vendor := partner.AsVendor(context.Background(), "ops@vendor.example")
	_, err := reg.Partners.Create(vendor, partner.Agreement{Name: "=1+1", Login: "sly", Password: "correct horse battery", Currency: "EUR"})
	check(err)
	var file strings.Builder // a host gives its response, or a file
	check(reg.Partners.Export(vendor, &file, "csv", partner.PartnerFilter{Search: "sly"}))
	rows, err := csv.NewReader(strings.NewReader(file.String())).ReadAll()
	check(err)
	for _, row := range rows {
		fmt.Println(row[1:4])
	}
	// Output:
	// [state name login]
	// [active '=1+1 sly]
}
