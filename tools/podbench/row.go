package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
)

// row is one result: a workload on a system. Seconds and bytes, never scaled.
type row struct {
	Workload string `json:"workload"`
	Params   string `json:"params"`
	System   string `json:"system"`
	Variant  string `json:"variant,omitempty"`

	Saves        int64 `json:"saves,omitempty"`
	Objects      int64 `json:"objects,omitempty"`       // after the last save
	PayloadBytes int64 `json:"payload_bytes,omitempty"` // after the last save
	StorageBytes int64 `json:"storage_bytes,omitempty"` // all files after Close

	SaveTotal     float64 `json:"save_s_total,omitempty"`
	SaveMedian    float64 `json:"save_s_median,omitempty"`
	SaveP99       float64 `json:"save_s_p99,omitempty"`
	SaveMax       float64 `json:"save_s_max,omitempty"`
	SaveCPUTotal  float64 `json:"save_cpu_s_total,omitempty"`
	SaveCPUMedian float64 `json:"save_cpu_s_median,omitempty"`
	BlockedTotal  float64 `json:"blocked_s_total,omitempty"` // the caller waited; all of it for a synchronous save

	LoadFullMedian    float64 `json:"load_full_s_median,omitempty"`
	LoadPartialMedian float64 `json:"load_partial_s_median,omitempty"`

	PeakRSS    int64 `json:"peak_rss_bytes,omitempty"` // of the process, program included, until Close
	AllocBytes int64 `json:"alloc_bytes,omitempty"`    // allocated by saves
	WriteBytes int64 `json:"write_bytes,omitempty"`    // given to write calls by saves and Close

	Repeats int     `json:"repeats,omitempty"`
	Spread  float64 `json:"spread,omitempty"` // of save_s_total: (max - min) / median
	Commit  string  `json:"commit,omitempty"`
	Machine string  `json:"machine,omitempty"`
	Error   string  `json:"error,omitempty"`
}

// times are the fields in seconds that differ from run to run.
func (r *row) times() []*float64 {
	return []*float64{&r.SaveTotal, &r.SaveMedian, &r.SaveP99, &r.SaveMax, &r.SaveCPUTotal,
		&r.SaveCPUMedian, &r.BlockedTotal, &r.LoadFullMedian, &r.LoadPartialMedian}
}

func (r *row) bytes() []*int64 {
	return []*int64{&r.StorageBytes, &r.PeakRSS, &r.AllocBytes, &r.WriteBytes}
}

// combine makes one row of the runs of a system: each figure is the median of
// the runs. A run with an error is the result.
func combine(runs []row) row {
	for _, r := range runs {
		if r.Error != "" {
			return r
		}
	}
	out := runs[0]
	for i, field := range out.times() {
		*field = median(column(runs, func(r *row) float64 { return *r.times()[i] }))
	}
	for i, field := range out.bytes() {
		*field = median(column(runs, func(r *row) int64 { return *r.bytes()[i] }))
	}
	totals := column(runs, func(r *row) float64 { return r.SaveTotal })
	if out.SaveTotal > 0 {
		out.Spread = (slices.Max(totals) - slices.Min(totals)) / out.SaveTotal
	}
	out.Repeats = len(runs)
	return out
}

func column[T any](runs []row, get func(*row) T) []T {
	out := make([]T, len(runs))
	for i := range runs {
		out[i] = get(&runs[i])
	}
	return out
}

// median returns the middle value, the lower of two; zero of none.
func median[T cmp.Ordered](values []T) T {
	return percentile(values, 50)
}

// percentile returns the smallest value that is not below p % of the values.
func percentile[T cmp.Ordered](values []T, p int) T {
	var zero T
	if len(values) == 0 {
		return zero
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max((len(sorted)*p+99)/100-1, 0)]
}

func sum(values []float64) float64 {
	total := 0.0
	for _, v := range values {
		total += v
	}
	return total
}

// printTable writes rows for a reader.
func printTable(w io.Writer, rows []row) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "workload\tsystem\tsaves\tobjects\tpayload\tstorage\tsave total\tmedian\tmax\tcpu total\tload full\tpartial\tpeak RSS\tspread\t")
	for _, r := range rows {
		if r.Error != "" {
			continue
		}
		fmt.Fprintf(t, "%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%.0f %%\t\n", r.Workload, r.System, r.Saves, r.Objects,
			mb(r.PayloadBytes), mb(r.StorageBytes), ms(r.SaveTotal), ms(r.SaveMedian), ms(r.SaveMax), ms(r.SaveCPUTotal),
			ms(r.LoadFullMedian), ms(r.LoadPartialMedian), mb(r.PeakRSS), 100*r.Spread)
	}
	t.Flush()
	for _, r := range rows {
		if r.Error != "" {
			fmt.Fprintf(w, "%s on %s: error: %s\n", r.Workload, r.System, r.Error)
		}
	}
}

func mb(bytes int64) string { return fmt.Sprintf("%.3f MB", float64(bytes)/1e6) }
func ms(s float64) string   { return fmt.Sprintf("%.3f ms", 1e3*s) }
