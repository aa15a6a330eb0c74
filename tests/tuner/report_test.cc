// The page is well-formed, holds the figures, needs nothing else, and trusts no text.
#include "schedules/tuner/report.h"

#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>

#include "tests/tuner/database_tools.h"

namespace mha {
namespace {

class Report : public DatabaseTest {
 protected:
  // Python's parser of XML is the judge: every tag closed, every attribute quoted, every & an
  // entity. The declaration of the document type is none of XML's.
  void expect_well_formed(const std::string& html) const {
    std::ofstream(file("page.html")) << html;
    std::ofstream(file("check.py"))
        << "import sys, xml.dom.minidom\n"
           "text = open(sys.argv[1]).read()\n"
           "assert text.startswith('<!DOCTYPE html>\\n')\n"
           "document = xml.dom.minidom.parseString(text.split('\\n', 1)[1])\n"
           "tags = {e.tagName for e in document.getElementsByTagName('*')}\n"
           "assert not tags & {'script', 'link', 'img', 'iframe', 'b', 'object'}, tags\n"
           "assert 'url(' not in text and 'http' not in text and '@import' not in text\n"
           "assert 'nan' not in text.replace('--', ' ').split() and 'NaN' not in text\n";
    EXPECT_EQ(std::system(("python3 " + file("check.py") + " " + file("page.html")).c_str()), 0)
        << html;
  }

  static ReportInput search() {
    ReportInput input;
    input.name = "transformer_base";
    input.subject = subject_named();
    input.certified = certified(64, std::log(1.25));
    input.flops = 5e7;
    input.bytes = 1e7;
    input.peak_flops = 1e11;
    input.read_bytes = 1e10;
    for (int i = 0; i < 40; ++i) {
      Trial t = trial_named("query_block=" + std::to_string(16 << (i % 3)) +
                                " key_unroll=" + std::to_string(1 + i % 2),
                            i % 4 == 3 ? "project_out" : "attention");
      t.index = i;
      t.score = 0.1 * (i % 3) - 0.001 * (i % 2);
      t.half_width = 0.004;
      if (i % 7 == 6) {
        t.outcome = static_cast<Outcome>(1 + i % 8);
        t.detail = "signal 11";
        t.score = 0;
      }
      input.trials.push_back(t);
    }
    Trial halide = trial_named("autoscheduler=adams2019");
    halide.score = std::log(0.4);
    input.trials.push_back(halide);
    halide.candidate = "autoscheduler=mullapudi2016";
    halide.outcome = Outcome::kHang;
    halide.detail = "more than 3 s";
    input.trials.push_back(halide);
    return input;
  }
};

TEST_F(Report, HoldsTheFigures) {
  const std::string html = report_html({search()});
  expect_well_formed(html);
  for (const char* part :
       {"transformer_base", "attention B=1", "zen4", "A 1/2/3", "1.250", "certified.",
        "Stage <code>attention</code>", "Stage <code>project_out</code>", "query_block",
        // 50 MFLOP and 10 MB in 1 ms, of 100 GFLOP/s and 10 GB/s.
        "50.0 %", "100.0 %", "Runner-up", "adams2019", "0.400", "mullapudi2016",
        "hang: <code>more than 3 s</code>", "signal 11", "32: 1.105", "<svg"}) {
    EXPECT_NE(html.find(part), std::string::npos) << part;
  }
  EXPECT_EQ(html, report_html({search()}));
  if (const char* keep = std::getenv("MHA_TEST_TUNER_REPORT")) std::ofstream(keep) << html;
}

// query_block alone decides these scores, key_unroll nothing.
TEST_F(Report, SaysWhatMatters) {
  ReportInput input;
  for (int i = 0; i < 16; ++i) {
    Trial t = trial_named("query_block=" + std::to_string(8 + 8 * (i % 2)) +
                          " key_unroll=" + std::to_string(1 + i / 2 % 2));
    t.index = i;
    t.score = i % 2 == 0 ? 0.0 : 0.2;
    input.trials.push_back(t);
  }
  const std::string html = report_html({input});
  EXPECT_NE(html.find("<code>query_block</code></td><td class=\"n\">100 %</td>"),
            std::string::npos);
  EXPECT_NE(html.find("<code>key_unroll</code></td><td class=\"n\">0 %</td>"), std::string::npos);
  EXPECT_NE(html.find("8: 1.000, 16: 1.221"), std::string::npos);
}

TEST_F(Report, TrustsNoText) {
  const std::string hostile = "\"><script>alert('&')</script>\x01\xff</td><b>";
  ReportInput input = search();
  input.name = hostile;
  Subject& s = input.subject;
  for (std::string* text : {&s.spec, &s.lengths, &s.target, &s.machine, &s.generator, &s.space}) {
    *text = hostile;
  }
  for (Trial& t : input.trials) {
    for (std::string* text : {&t.stage, &t.detail, &t.against, &t.strategy}) *text = hostile;
    t.candidate = "a=" + hostile + " " + t.candidate;
  }
  input.certified->schedule.stages[0].stage = hostile;
  const std::string html = report_html({input});
  expect_well_formed(html);
  EXPECT_EQ(html.find("<script"), std::string::npos);
}

TEST_F(Report, WhatIsNotThereIsLeftOut) {
  expect_well_formed(report_html({}));
  const std::string nothing = report_html({ReportInput{}});
  expect_well_formed(nothing);
  EXPECT_NE(nothing.find("Nothing was tried."), std::string::npos);
  ReportInput input = search();
  input.certified.reset();
  for (Trial& t : input.trials) t.outcome = Outcome::kCrash;
  expect_well_formed(report_html({input}));
  // One measured trial, without a width; figures that are none.
  input = search();
  input.trials.resize(1);
  input.trials[0].half_width = std::numeric_limits<double>::infinity();
  input.peak_flops = 0;
  expect_well_formed(report_html({input}));
  input.trials[0].score = std::numeric_limits<double>::quiet_NaN();
  input.certified->certificate.seconds.clear();
  expect_well_formed(report_html({input}));
  input = search();
  input.certified->certificate.faster = false;
  EXPECT_NE(report_html({input}).find("the default stays"), std::string::npos);
}

}  // namespace
}  // namespace mha
