//! What is wrong with the body of a dashboard, in AWS's words.
//!
//! Follows "Dashboard Body Structure and Syntax": what every widget has, and the metrics of those that show some. What
//! lies deeper is the console's to make sense of.

use serde::Serialize;
use serde_json::{Map, Value};

/// One complaint, about what lies at a path: `/widgets/0/type`.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Fault {
    data_path: String,
    message: String,
}

const FAULTS_MAX: usize = 100;
const WIDGETS_MAX: usize = 500;
const PERIOD_OVERRIDES: [&str; 2] = ["auto", "inherit"];
const NOT_ALLOWED: &str = "Should be equal to one of the allowed values";
const TYPES: [&str; 7] = ["metric", "text", "log", "alarm", "explorer", "custom", "html"];
/// The grid is so wide, and a widget so high at most.
const WIDTH_MAX: i64 = 24;
const HEIGHT_MAX: i64 = 1_000;

/// What is wrong within a body that is an object; else what is wrong with it as a whole.
pub fn faults(body: &str) -> Result<Vec<Fault>, &'static str> {
    let Ok(Value::Object(body)) = serde_json::from_str::<Value>(body) else {
        return Err("The field DashboardBody must be a valid JSON object");
    };
    let mut faults = Faults(Vec::new());
    if body.get("periodOverride").is_some_and(|value| !PERIOD_OVERRIDES.iter().any(|known| value == known)) {
        faults.add("/periodOverride", NOT_ALLOWED);
    }
    match body.get("widgets") {
        None => {}
        Some(Value::Array(widgets)) if widgets.len() > WIDGETS_MAX => {
            faults.add("/widgets", format!("Should NOT have more than {WIDGETS_MAX} items"));
        }
        Some(Value::Array(widgets)) => {
            for (place, widget) in widgets.iter().enumerate() {
                faults.of_widget(&format!("/widgets/{place}"), widget);
            }
        }
        Some(_) => faults.add("/widgets", "Should be array"),
    }
    Ok(faults.0)
}

/// The message of the error that tells them all.
pub fn refusal(faults: &[Fault]) -> String {
    let told: Vec<String> = faults
        .iter()
        .map(|Fault { data_path, message }| {
            let (path, message) = (Value::from(data_path.as_str()), Value::from(message.as_str()));
            format!("  {{\n    \"dataPath\": {path},\n    \"message\": {message}\n  }}")
        })
        .collect();
    let told = told.join(",\n");
    format!("The dashboard body is invalid, there are {} validation errors:\n[\n{told}\n]", faults.len())
}

struct Faults(Vec<Fault>);

impl Faults {
    fn add(&mut self, path: &str, message: impl Into<String>) {
        if self.0.len() < FAULTS_MAX {
            self.0.push(Fault { data_path: path.to_owned(), message: message.into() });
        }
    }

    fn of_widget(&mut self, path: &str, widget: &Value) {
        let Value::Object(widget) = widget else { return self.add(path, "Should be object") };
        for (member, least, most) in
            [("x", 0, WIDTH_MAX - 1), ("y", 0, i64::MAX), ("width", 1, WIDTH_MAX), ("height", 1, HEIGHT_MAX)]
        {
            self.of_number(path, widget, member, least, most);
        }
        let Some(kind) = self.required(path, widget, "type") else { return };
        if !TYPES.iter().any(|known| kind == known) {
            return self.add(&format!("{path}/type"), NOT_ALLOWED);
        }
        let Some(properties) = self.required(path, widget, "properties") else { return };
        let path = format!("{path}/properties");
        let Value::Object(properties) = properties else { return self.add(&path, "Should be object") };
        match kind.as_str() {
            Some("metric") => self.of_metrics(&path, properties),
            Some("text") => {
                self.required(&path, properties, "markdown");
            }
            Some("log") => {
                self.required(&path, properties, "region");
                self.required(&path, properties, "query");
            }
            Some("alarm") => self.of_alarms(&path, properties),
            _ => {}
        }
    }

    fn required<'v>(&mut self, path: &str, of: &'v Map<String, Value>, member: &str) -> Option<&'v Value> {
        let value = of.get(member);
        if value.is_none() {
            self.add(path, format!("Should have required property '{member}'"));
        }
        value
    }

    fn of_alarms(&mut self, path: &str, properties: &Map<String, Value>) {
        match self.required(path, properties, "alarms") {
            None => {}
            Some(Value::Array(alarms)) if alarms.is_empty() => {
                self.add(&format!("{path}/alarms"), "Should NOT have less than 1 items");
            }
            Some(Value::Array(_)) => {}
            Some(_) => self.add(&format!("{path}/alarms"), "Should be array"),
        }
    }

    fn of_number(&mut self, path: &str, widget: &Map<String, Value>, member: &str, least: i64, most: i64) {
        let Some(value) = widget.get(member) else { return };
        let path = format!("{path}/{member}");
        match value.as_i64() {
            None => self.add(&path, "Should be integer"),
            Some(number) if number < least => self.add(&path, format!("Should be >= {least}")),
            Some(number) if number > most => self.add(&path, format!("Should be <= {most}")),
            Some(_) => {}
        }
    }

    /// Where there are no annotations, there is a region, and `[["AWS/Lambda", "Errors", "FunctionName", "f", { "stat": "Sum" }], ..]`
    fn of_metrics(&mut self, path: &str, properties: &Map<String, Value>) {
        if !properties.contains_key("annotations") {
            let has = |member: &&str| properties.contains_key(*member);
            if !["region", "metrics"].iter().all(has) {
                self.required(path, properties, "region");
                self.required(path, properties, "metrics");
                self.add(
                    path,
                    "The metric widget should have specified a region and a data source or an alarm annotation",
                );
                self.required(path, properties, "annotations");
            }
        }
        let Some(metrics) = properties.get("metrics") else { return };
        let path = format!("{path}/metrics");
        let Value::Array(metrics) = metrics else { return self.add(&path, "Should be array") };
        for (place, metric) in metrics.iter().enumerate() {
            let path = format!("{path}/{place}");
            let Value::Array(parts) = metric else {
                self.add(&path, "Should be array");
                self.add(
                    &path,
                    "Field \"metrics\" has to be an array of array of strings, with an optional metricRenderer object \
                     as last element",
                );
                continue;
            };
            let last = parts.len().saturating_sub(1);
            for (place, part) in parts.iter().enumerate() {
                let is_renderer = place == last && part.is_object();
                if !part.is_string() && !is_renderer {
                    let message = "Invalid metric field type, only \"String\" type is allowed";
                    self.add(&format!("{path}/{place}"), message);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(body: &str) -> Vec<(String, String)> {
        faults(body).unwrap().into_iter().map(|fault| (fault.data_path, fault.message)).collect()
    }

    #[test]
    fn what_consoles_write_is_taken() {
        let body = r##"{"start":"-PT6H","widgets":[
            {"type":"metric","x":0,"y":0,"width":6,"height":6,"properties":{"metrics":[
                ["AWS/EC2","CPUUtilization","InstanceId","i-1",{"stat":"p99"}],[".",".",{"color":"#ff0000"}],
                [{"expression":"m1/2","id":"e1"}]],"region":"us-east-1","view":"timeSeries"}},
            {"type":"text","properties":{"markdown":"# Hello"}}]}"##;
        assert_eq!(told(body), []);
        assert_eq!(told("{}"), []);
    }

    #[test]
    fn faults_are_told_in_awss_words() {
        assert_eq!(faults("{").unwrap_err(), "The field DashboardBody must be a valid JSON object");
        assert_eq!(faults("[]").unwrap_err(), "The field DashboardBody must be a valid JSON object");
        let found = told(
            r#"{"widgets":[{"type":"metric","x":24,"properties":{"region":"us-east-1","metrics":["CPU",["AWS/Lambda","Errors",{"stat":"Sum"},{}]]}},
                {"type":"chart"},{"type":"text","properties":{}},{"properties":{}},7]}"#,
        );
        let found: Vec<(&str, &str)> = found.iter().map(|(path, message)| (path.as_str(), message.as_str())).collect();
        let array = "Field \"metrics\" has to be an array of array of strings, with an optional metricRenderer object as last element";
        assert_eq!(
            found,
            [
                ("/widgets/0/x", "Should be <= 23"),
                ("/widgets/0/properties/metrics/0", "Should be array"),
                ("/widgets/0/properties/metrics/0", array),
                ("/widgets/0/properties/metrics/1/2", "Invalid metric field type, only \"String\" type is allowed"),
                ("/widgets/1/type", "Should be equal to one of the allowed values"),
                ("/widgets/2/properties", "Should have required property 'markdown'"),
                ("/widgets/3", "Should have required property 'type'"),
                ("/widgets/4", "Should be object"),
            ]
        );
    }

    #[test]
    fn a_widget_has_what_it_shows() {
        let found = told(
            r#"{"periodOverride":"never","widgets":[{"type":"metric","properties":{"region":"us-east-1"}},
                {"type":"metric","properties":{"metrics":[]}},{"type":"metric","properties":{"annotations":{}}},
                {"type":"alarm","properties":{"alarms":[]}},{"type":"alarm","properties":{"alarms":["arn"]}},
                {"type":"log","properties":{"region":"us-east-1"}}]}"#,
        );
        let found: Vec<(&str, &str)> = found.iter().map(|(path, message)| (path.as_str(), message.as_str())).collect();
        let source = "The metric widget should have specified a region and a data source or an alarm annotation";
        let [first, second] = ["/widgets/0/properties", "/widgets/1/properties"];
        assert_eq!(
            found,
            [
                ("/periodOverride", "Should be equal to one of the allowed values"),
                (first, "Should have required property 'metrics'"),
                (first, source),
                (first, "Should have required property 'annotations'"),
                (second, "Should have required property 'region'"),
                (second, source),
                (second, "Should have required property 'annotations'"),
                ("/widgets/3/properties/alarms", "Should NOT have less than 1 items"),
                ("/widgets/5/properties", "Should have required property 'query'"),
            ]
        );
    }

    #[test]
    fn the_refusal_tells_each() {
        let faults = faults(r#"{"widgets":7}"#).unwrap();
        assert_eq!(
            refusal(&faults),
            "The dashboard body is invalid, there are 1 validation errors:\n[\n  {\n    \"dataPath\": \"/widgets\",\n    \
             \"message\": \"Should be array\"\n  }\n]"
        );
    }
}
