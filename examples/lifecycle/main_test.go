package main

func Example() {
	main()
	// Unordered output:
	// 2027-01-01 Move is open
	// 2027-04-01 mail to it@globex.example: Move has not been used for long
	// 2027-04-01 mail to boss@acme.example: Move has not been used for long
	// 2027-04-11 somebody uses it: it is active
	// 2030-01-25 4 seats go back when it closes
	// 2030-01-25 mail to boss@acme.example: Move is closing
	// 2030-01-25 mail to it@globex.example: Move is closing
	// 2030-01-27 deleted, with 3 jobs of the host's; signed with key-1
}
