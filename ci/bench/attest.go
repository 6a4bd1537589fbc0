package bench

// Attested are the seconds that one image took.
type Attested struct {
	// Attest is the time in which SBOMs, provenance and signature are made and attached.
	Attest float64 `json:"attest"`
	// Verify is the time in which all of it is verified.
	Verify float64 `json:"verify"`
}

// CompareAttested makes the rows of the table of attestations: by hand is the other way, with the program attest ours.
func CompareAttested(f Turns[Attested]) ([]Row, error) {
	if err := f.check("the program attest"); err != nil {
		return nil, err
	}
	return judge([]Row{
		f.row("two SBOMs, provenance and signature, attached", 15, func(a Attested) float64 { return a.Attest }),
		f.row("all of it verified", 0, func(a Attested) float64 { return a.Verify }),
	})
}
