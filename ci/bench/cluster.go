package bench

// Steps are the seconds of one way from no cluster to a change of a release that runs in one.
type Steps struct {
	// Cluster is the time until there is a cluster, Argocd from then until Argo CD is ready.
	Cluster float64 `json:"cluster"`
	Argocd  float64 `json:"argocd"`
	// Release is the time from the Application until all of it is healthy.
	Release float64 `json:"release"`
	// Change is the time from a push that replaces the pods until the new one serves.
	Change float64 `json:"change"`
}

// CompareSteps makes the rows of the table of a cluster's steps: by hand is the other way, with the helper program ours.
func CompareSteps(f Turns[Steps]) ([]Row, error) {
	if err := f.check("the helper program"); err != nil {
		return nil, err
	}
	return judge([]Row{
		f.row("cluster ready", 15, func(s Steps) float64 { return s.Cluster }),
		f.row("Argo CD ready after that", 25, func(s Steps) float64 { return s.Argocd }),
		f.row("release healthy after its Application", 0, func(s Steps) float64 { return s.Release }),
		f.row("push to the new pod serving", 15, func(s Steps) float64 { return s.Change }),
		f.row("all of it", 0, func(s Steps) float64 { return s.Cluster + s.Argocd + s.Release + s.Change }),
	})
}
