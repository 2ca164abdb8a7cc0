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
:root { color-scheme: light dark; --text: #1a202c; --soft: #4a5568; --line: #e2e8f0; --box: #f7fafc; --page: #ffffff;
  --curve-0: #2b6cb0; --curve-1: #c05621; --curve-2: #2f855a; --curve-3: #6b46c1; --curve-4: #b83280; --curve-5: #4a5568; }
@media (prefers-color-scheme: dark) { :root { --text: #e2e8f0; --soft: #a0aec0; --line: #2d3748; --box: #1a202c; --page: #11151c;
  --curve-0: #63b3ed; --curve-1: #f6ad55; --curve-2: #68d391; --curve-3: #b794f4; --curve-4: #f687b3; --curve-5: #a0aec0; }
  .maps img, svg image { filter: invert(1) hue-rotate(180deg); } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page); max-width: 900px; margin: 32px auto; padding: 0 16px; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 18px; margin: 32px 0 8px; } h3 { font-size: 15px; margin: 20px 0 6px; }
p.note { color: var(--soft); margin: 4px 0 12px; }
table { border-collapse: collapse; } td, th { padding: 4px 14px 4px 0; text-align: left; border-bottom: 1px solid var(--line); }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; margin: 16px 0; }
.tile { border: 1px solid var(--line); border-radius: 8px; padding: 10px 16px; min-width: 130px; }
.tile b { display: block; font-size: 22px; } .tile span { color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; } .pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(280px, 1fr)); gap: 12px; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(130px, 1fr)); gap: 10px; } .maps figure { margin: 0; }
.maps figcaption { font-size: 12px; color: var(--soft); }
.maps img { width: 100%; max-width: 192px; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--line); }
svg.chart { width: 100%; height: auto; } svg image { image-rendering: pixelated; }
svg text { font: 12px system-ui, sans-serif; fill: var(--soft); } svg text.byte { font: 10px monospace; text-anchor: middle; }
svg text.title { font-size: 14px; font-weight: 600; fill: var(--text); } svg .grid { stroke: var(--line); }
svg path { fill: none; stroke-width: 1.6; }
svg path.curve-0 { stroke: var(--curve-0); } svg path.curve-1 { stroke: var(--curve-1); } svg path.curve-2 { stroke: var(--curve-2); }
svg path.curve-3 { stroke: var(--curve-3); } svg path.curve-4 { stroke: var(--curve-4); } svg path.curve-5 { stroke: var(--curve-5); }
svg text.curve-0 { fill: var(--curve-0); } svg text.curve-1 { fill: var(--curve-1); } svg text.curve-2 { fill: var(--curve-2); }
svg text.curve-3 { fill: var(--curve-3); } svg text.curve-4 { fill: var(--curve-4); } svg text.curve-5 { fill: var(--curve-5); }
.on-phone { display: none; } @media (max-width: 600px) { .on-phone { display: block; } .on-page { display: none; } }
pre { background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: 12px; white-space: pre-wrap; overflow-wrap: anywhere; }
)css";

std::string tile(const std::string& value, const std::string& label) {
  return fmt::format("<div class='tile'><b>{}</b><span>{}</span></div>\n", value, label);
}

std::string tiles(const TrainingPage& run) {
  std::string html = "<div class='tiles'>\n";
  if (!run.validation_losses.empty()) {
    const double loss = run.validation_losses.back();
    html += tile(fmt::format("{:.3f}", loss), "validation loss, nats per byte");
    html += tile(fmt::format("{:.3f}", loss / std::numbers::ln2), "bits per byte");
  }
  if (!run.losses.empty()) html += tile(fmt::format("{:.3f}", run.losses.back()), "training loss");
  if (!run.steps.empty()) html += tile(fmt::format("{:.0f}", run.steps.back()), "steps");
  if (run.tokens_per_second > 0) {
    html += tile(fmt::format("{:.0f}", run.tokens_per_second), "tokens per second");
  }
  if (run.seconds > 0) html += tile(fmt::format("{:.0f} s", run.seconds), "training time");
  return html + "</div>\n";
}

std::string configuration_table(const TrainingPage& run) {
  std::string html = "<h2>Configuration</h2>\n<table>\n";
  for (const auto& [name, value] : run.configuration) {
    html += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escape_html(name), escape_html(value));
  }
  return html + "</table>\n";
}

/// Of the loss twice: the style shows the one whose text can be read on the screen.
std::string curves(const TrainingPage& run) {
  const ChartText text{.title = "Loss", .x_label = "step", .y_label = "nats per byte"};
  const std::vector<Curve> losses = {{"training", run.steps, run.losses},
                                     {"validation", run.validation_steps, run.validation_losses}};
  std::string html = "<div class='on-page'>" + line_chart(text, losses) + "</div>\n";
  html += "<div class='on-phone'>" + line_chart(text, losses, ChartWidth::half) + "</div>\n";
  html += "<div class='pair'>\n";
  if (!run.learning_rates.empty()) {
    html += line_chart({.title = "Learning rate", .x_label = "step", .y_label = ""},
                       {{"", run.steps, run.learning_rates}}, ChartWidth::half);
  }
  if (!run.gradient_norms.empty()) {
    html += line_chart({.title = "Gradient norm", .x_label = "step", .y_label = "before clipping"},
                       {{"", run.steps, run.gradient_norms}}, ChartWidth::half);
  }
  return html + "</div>\n";
}

std::string attention_section(const TrainingPage& run) {
  return fmt::format(
             "<h2>Attention</h2>\n<p class='note'>Which earlier bytes (columns) each byte (rows) "
             "of "
             "this text looks at; heads {} to a key/value head.</p>\n<pre>{}</pre>\n",
             run.model.num_heads / run.model.num_key_value_heads, escape_html(run.attended)) +
         attention_maps(run.attention_scores, run.attended);
}

std::string cache_table(const TransformerConfig& model) {
  std::string html =
      "<h2>KV cache</h2>\n<p class='note'>What generation stores per token. Sharing key/value "
      "heads "
      "saves memory and traffic, not score operations.</p>\n<div class='scroll'><table>\n"
      "<tr><th>variant</th><th class='n'>key/value heads</th><th class='n'>values per layer</th>"
      "<th class='n'>bytes per token</th><th class='n'>of MHA</th></tr>\n";
  for (const CacheCost& cost : cache_costs(model)) {
    const bool own = cost.num_key_value_heads == model.num_key_value_heads;
    html += fmt::format(
        "<tr><td>{}{}</td><td class='n'>{}</td><td class='n'>{}</td><td class='n'>{}</td>"
        "<td class='n'>{:.3g}</td></tr>\n",
        cost.variant, own ? " (this model)" : "", cost.num_key_value_heads, cost.elements_per_layer,
        cost.bytes_per_token, cost.relative_to_mha);
  }
  return html + "</table></div>\n";
}

}  // namespace

std::string training_report_html(const TrainingPage& run) {
  std::string html = fmt::format(
      "<!doctype html>\n<html lang='en'>\n<head>\n<meta charset='utf-8'>\n"
      "<meta name='viewport' content='width=device-width, initial-scale=1'>\n"
      "<title>grouphead training report</title>\n<style>{}</style>\n</head>\n<body>\n"
      "<h1>Training report</h1>\n<p class='note'>Byte-level language model, grouphead {}</p>\n",
      kStyle, GROUPHEAD_VERSION);
  html += tiles(run);
  html += curves(run);
  if (!run.sample.empty()) {
    html += fmt::format("<h2>What it writes</h2>\n<pre>{}</pre>\n", escape_html(run.sample));
  }
  if (!run.attention_scores.empty()) html += attention_section(run);
  html += cache_table(run.model);
  html += configuration_table(run);
  return html + "</body>\n</html>\n";
}

}  // namespace grouphead::tools::report
