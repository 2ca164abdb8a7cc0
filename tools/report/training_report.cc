#include "tools/report/training_report.h"

#include <fmt/format.h>

#include <cmath>
#include <numbers>

#include "grouphead/core/version.h"
#include "models/cost.h"
#include "tools/report/attention_map.h"
#include "tools/report/chart.h"

namespace grouphead::tools::report {
namespace {

constexpr const char* kStyle = R"css(
body { font: 15px/1.5 system-ui, sans-serif; color: #1a202c; max-width: 900px; margin: 32px auto; padding: 0 16px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; }
p.note { color: #4a5568; margin: 4px 0 12px; }
table { border-collapse: collapse; } td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid #e2e8f0; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.tile { border: 1px solid #e2e8f0; border-radius: 8px; padding: 10px 16px; min-width: 130px; }
.tile b { display: block; font-size: 22px; } .tile span { color: #4a5568; font-size: 13px; }
.maps { display: flex; flex-wrap: wrap; gap: 10px; } .maps figure { margin: 0; } .maps figcaption { font-size: 12px; color: #4a5568; }
.maps img { width: 100px; height: 100px; image-rendering: pixelated; border: 1px solid #e2e8f0; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #4a5568; }
svg text.title { font-size: 14px; font-weight: 600; fill: #1a202c; }
svg .grid { stroke: #e2e8f0; }
pre { background: #f7fafc; border: 1px solid #e2e8f0; border-radius: 8px; padding: 12px; white-space: pre-wrap; overflow-wrap: anywhere; }
)css";

std::string tile(const std::string& value, const std::string& label) {
  return fmt::format("<div class='tile'><b>{}</b><span>{}</span></div>\n", value, label);
}

std::string tiles(const TrainingRun& run) {
  std::string html = "<div class='tiles'>\n";
  if (!run.validation_losses.empty()) {
    const double loss = run.validation_losses.back();
    html += tile(fmt::format("{:.3f}", loss), "validation loss, nats per byte");
    html += tile(fmt::format("{:.3f}", loss / std::numbers::ln2), "bits per byte");
  }
  if (!run.losses.empty()) html += tile(fmt::format("{:.3f}", run.losses.back()), "training loss");
  if (!run.steps.empty()) html += tile(fmt::format("{:.0f}", run.steps.back()), "steps");
  html += tile(fmt::format("{:.0f}", run.tokens_per_second), "tokens per second");
  html += tile(fmt::format("{:.0f} s", run.seconds), "training time");
  return html + "</div>\n";
}

std::string configuration_table(const TrainingRun& run) {
  std::string html = "<h2>Configuration</h2>\n<table>\n";
  for (const auto& [name, value] : run.configuration) {
    html += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escape_html(name), escape_html(value));
  }
  return html + "</table>\n";
}

std::string attention_section(const TrainingRun& run) {
  return fmt::format(
             "<h2>Attention</h2>\n<p class='note'>Which earlier bytes (columns) each byte (rows) "
             "of "
             "this text looks at; heads {} to a key/value head.</p>\n<pre>{}</pre>\n",
             run.model.num_heads / run.model.num_key_value_heads, escape_html(run.attended)) +
         attention_maps(run.attention_scores);
}

std::string cache_table(const TransformerConfig& model) {
  std::string html =
      "<h2>KV cache</h2>\n<p class='note'>What generation keeps per token. Sharing key/value heads "
      "saves memory and traffic, not score operations.</p>\n<table>\n"
      "<tr><th>variant</th><th class='n'>key/value heads</th><th class='n'>numbers per layer</th>"
      "<th class='n'>bytes per token</th><th class='n'>of MHA</th></tr>\n";
  for (const CacheCost& cost : cache_costs(model)) {
    const bool own = cost.num_key_value_heads == model.num_key_value_heads;
    html += fmt::format(
        "<tr><td>{}{}</td><td class='n'>{}</td><td class='n'>{}</td><td class='n'>{}</td>"
        "<td class='n'>{:.3g}</td></tr>\n",
        cost.variant, own ? " (this model)" : "", cost.num_key_value_heads, cost.elements_per_layer,
        cost.bytes_per_token, cost.relative_to_mha);
  }
  return html + "</table>\n";
}

}  // namespace

std::string training_report_html(const TrainingRun& run) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
      "<title>grouphead training report</title>\n<style>{}</style>\n</head>\n<body>\n"
      "<h1>Training report</h1>\n<p class='note'>Byte-level language model, grouphead {}</p>\n",
      kStyle, GROUPHEAD_VERSION);
  html += tiles(run);
  html += line_chart({.title = "Loss", .x_label = "step", .y_label = "nats per byte"},
                     {{"training", run.steps, run.losses},
                      {"validation", run.validation_steps, run.validation_losses}});
  if (!run.sample.empty()) {
    html += fmt::format("<h2>What it writes</h2>\n<pre>{}</pre>\n", escape_html(run.sample));
  }
  if (!run.attention_scores.empty()) html += attention_section(run);
  html += cache_table(run.model);
  html += configuration_table(run);
  return html + "</body>\n</html>\n";
}

}  // namespace grouphead::tools::report
