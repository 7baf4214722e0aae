//! Queries with what the reference evaluator does not know.

use super::reference::random::Dice;

impl Dice {
    /// A query of everything there is.
    pub(crate) fn wide_query(&mut self) -> String {
        match self.below(12) {
            0 => {
                let op = self.one(&["count_values", "count_values without (j)"]);
                format!("{op} (\"v\", {})", self.vector(2))
            }
            1 => {
                let (function, window) = (
                    self.one(&[
                        "mad_over_time",
                        "deriv",
                        "ts_of_min_over_time",
                        "ts_of_max_over_time",
                        "ts_of_last_over_time",
                        "ts_of_first_over_time",
                        "absent_over_time",
                    ]),
                    self.window(2),
                );
                format!("{function}({window})")
            }
            2 => format!("predict_linear({}, 37)", self.window(2)),
            3 => {
                let window = self.window(2);
                format!("double_exponential_smoothing({window}, 0.3, 0.6)")
            }
            4 => {
                let operand = self.vector(2);
                let (to, from) = (
                    self.one(&["i", "k", "__name__"]),
                    self.one(&["i", "j", "__name__"]),
                );
                let pattern = self.one(&["(.*)", "([0-2])", "c_(.*)|.*", ""]);
                let into = self.one(&["$1", "x", "", "${1}-y"]);
                format!("label_replace({operand}, \"{to}\", \"{into}\", \"{from}\", \"{pattern}\")")
            }
            5 => {
                let (operand, to) = (self.vector(2), self.one(&["i", "k", "__name__"]));
                format!("label_join({operand}, \"{to}\", \"-\", \"i\", \"__name__\")")
            }
            6 => {
                let function = self.one(&[
                    "sgn",
                    "exp",
                    "ln",
                    "log2",
                    "log10",
                    "sin",
                    "cos",
                    "atan",
                    "tanh",
                    "deg",
                    "timestamp",
                    "hour",
                    "minute",
                    "day_of_week",
                    "round",
                    "sort",
                    "sort_desc",
                    "histogram_stddev",
                    "histogram_stdvar",
                ]);
                format!("{function}({})", self.vector(2))
            }
            7 => {
                let op = self.one(&["+", "-", "^", "atan2", "%", ">", "</", ">/"]);
                let (l, r) = (
                    self.vector(2),
                    self.one(&["time()", "pi()", "scalar(g{i=\"1\"})"]),
                );
                format!("({l}) {op} {r}")
            }
            8 => {
                let (l, r) = (self.vector(1), self.vector(1));
                let op = self.one(&["atan2", "^", "%", ">/", "</"]);
                let on = self.one(&["", "on (i)", "ignoring (j)", "on (i, j) group_left ()"]);
                let fill = self.one(&["", "fill (1)", "fill_left (0.3) fill_right (-2)"]);
                format!("({l}) {op} {on} {fill} ({r})")
            }
            9 => {
                let op = self.one(&["sum", "avg", "max", "topk(1, ", "count", "stddev"]);
                let by = self.one(&["by (__name__)", "by (i, __name__)", "by (__type__)"]);
                let operand = self.vector(2);
                if op.starts_with("topk") {
                    return format!("topk {by} (2, {operand})");
                }
                format!("{op} {by} ({operand})")
            }
            10 => {
                let name = self.one(&[
                    "up",
                    "{__name__=~\"up|g\"}",
                    "rate(up[1m])",
                    "sum by (instance, job) (up)",
                ]);
                let matchers = self.one(&[
                    "",
                    ", {version=~\".+\"}",
                    ", {__name__=\"target_info\"}",
                    ", {__name__=~\".*_info\", zone=\"\"}",
                ]);
                format!("info({name}{matchers})")
            }
            _ => {
                let parameter = self.one(&["scalar(g{i=\"0\"})", "0.3", "1", "-0.2", "2"]);
                let op = self.one(&["quantile", "topk", "bottomk", "limitk", "limit_ratio"]);
                format!("{op} by (j) ({parameter}, {})", self.plain(2))
            }
        }
    }
}
