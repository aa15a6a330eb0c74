#include "schedules/tuner/report_svg.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace mha {
namespace {

constexpr double kWidth = 640, kHeight = 240, kLeft = 64, kRight = 16, kTop = 12, kBottom = 40;

// A range of values laid along one axis of the drawing.
struct Axis {
  double low, high, from, to;
  double operator()(double value) const {
    return from + (value - low) / (high - low) * (to - from);
  }
};

std::string text(double x, double y, const char* anchor, const std::string& words) {
  return fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\">{}</text>\n", x, y, anchor,
                     html_escaped(words));
}

std::string line(const char* kind, double x1, double y1, double x2, double y2) {
  return fmt::format(
      "<line class=\"{}\" x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\"/>\n", kind, x1,
      y1, x2, y2);
}

std::string begin(const std::string& label) {
  return fmt::format("<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-label=\"{}\">\n", kWidth,
                     kHeight, html_escaped(label));
}

// 1, 2 or 5 times a power of ten, so that about five of them fill the span.
double step_of(double span) {
  const double power = std::pow(10.0, std::floor(std::log10(span / 5)));
  for (double factor : {1.0, 2.0, 5.0}) {
    if (span / (factor * power) <= 6) return factor * power;
  }
  return 10 * power;
}

}  // namespace

std::string html_escaped(const std::string& text) {
  std::string safe;
  for (char c : text) {
    if (c == '&') {
      safe += "&amp;";
    } else if (c == '<') {
      safe += "&lt;";
    } else if (c == '>') {
      safe += "&gt;";
    } else if (c == '"') {
      safe += "&quot;";
    } else if (c == '\'') {
      safe += "&#39;";
    } else if ((static_cast<unsigned char>(c) < ' ' && c != '\n' && c != '\t') ||
               static_cast<unsigned char>(c) > '~') {
      safe += '?';  // what a failed program printed may be no text at all
    } else {
      safe += c;
    }
  }
  return safe;
}

std::string convergence_svg(const std::vector<std::pair<double, double>>& points) {
  double low = 1, high = 1, last = 1;
  for (const auto& [index, gain] : points) {
    low = std::min(low, gain);
    high = std::max(high, gain);
    last = std::max(last, index);
  }
  // Failures far below would press everything else to the top.
  low = std::max(low, high / 4);
  const double room = std::max(0.05 * (high - low), 0.01);
  const Axis x{0, last, kLeft, kWidth - kRight};
  const Axis y{low - room, high + room, kHeight - kBottom, kTop};
  std::string svg = begin("gain over the default by trial");
  const double step = step_of(y.high - y.low);
  for (double tick = std::ceil(y.low / step) * step; tick <= y.high; tick += step) {
    svg += line("grid", kLeft, y(tick), kWidth - kRight, y(tick));
    svg += text(kLeft - 6, y(tick) + 4, "end", fmt::format("{:.4g}", tick));
  }
  svg += line("default", kLeft, y(1), kWidth - kRight, y(1));
  const double count = std::max(1.0, step_of(last));
  for (double tick = 0; tick <= last; tick += count) {
    svg += text(x(tick), kHeight - kBottom + 18, "middle", fmt::format("{:.0f}", tick));
  }
  svg += text((kLeft + kWidth) / 2, kHeight - 4, "middle", "trial");
  std::string path;
  double best = 0, at = 0;
  for (const auto& [index, gain] : points) {
    if (gain >= low) {
      svg += fmt::format("<circle class=\"trial\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"2.5\"/>\n",
                         x(index), y(gain));
    }
    if (gain <= best) continue;
    if (gain >= low) {
      path += path.empty() ? fmt::format("M{:.1f} {:.1f}", x(index), y(gain))
                           : fmt::format("H{:.1f}V{:.1f}", x(index), y(gain));
    }
    best = gain;
    at = index;
  }
  if (!path.empty()) {
    path += fmt::format("H{:.1f}", x(std::max(at, last)));
    svg += "<path class=\"best\" d=\"" + path + "\"/>\n";
  }
  return svg + "</svg>\n";
}

std::string roofline_svg(double flops_per_byte, double peak_flops, double read_bytes,
                         const std::vector<RooflinePoint>& points) {
  const double ridge = peak_flops / read_bytes;
  const double first = std::min(flops_per_byte, ridge), last = std::max(flops_per_byte, ridge);
  // Operands that stay in the caches may lift a point above the slope.
  double least = read_bytes * first, most = peak_flops;
  for (const RooflinePoint& point : points) {
    least = std::min(least, point.flops_per_second);
    most = std::max(most, point.flops_per_second);
  }
  const Axis x{std::log10(first) - 0.5, std::log10(last) + 0.5, kLeft, kWidth - kRight};
  const Axis y{std::log10(least) - 0.3, std::log10(most) + 0.2, kHeight - kBottom, kTop};
  const auto roof = [&](double log_intensity) {
    return std::min(std::log10(peak_flops), std::log10(read_bytes) + log_intensity);
  };
  std::string svg = begin("roofline");
  for (double tick = std::ceil(y.low); tick <= y.high; ++tick) {
    svg += line("grid", kLeft, y(tick), kWidth - kRight, y(tick));
    svg += text(kLeft - 6, y(tick) + 4, "end", fmt::format("{:g}", std::pow(10, tick - 9)));
  }
  for (double tick = std::ceil(x.low); tick <= x.high; ++tick) {
    svg += line("grid", x(tick), kTop, x(tick), kHeight - kBottom);
    svg += text(x(tick), kHeight - kBottom + 18, "middle", fmt::format("{:g}", std::pow(10, tick)));
  }
  svg += text((kLeft + kWidth) / 2, kHeight - 4, "middle", "FLOPs a byte (GFLOP/s upwards)");
  svg += fmt::format("<path class=\"best\" d=\"M{:.1f} {:.1f}L{:.1f} {:.1f}L{:.1f} {:.1f}\"/>\n",
                     x(x.low), y(std::max(roof(x.low), y.low)), x(std::log10(ridge)),
                     y(std::log10(peak_flops)), x(x.high), y(std::log10(peak_flops)));
  double side = 1;
  for (const RooflinePoint& point : points) {
    const double px = x(std::log10(flops_per_byte)), py = y(std::log10(point.flops_per_second));
    svg += fmt::format("<circle class=\"mark\" cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\"/>\n", px, py);
    svg += text(px + side * 8, py + 4, side > 0 ? "start" : "end", point.name);
    side = -side;
  }
  return svg + "</svg>\n";
}

}  // namespace mha
