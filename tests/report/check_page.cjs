// Opens a page in Chromium and prints what is wrong with it, as JSON: what the browser wrote to its
// console or asked of the network, and what html-validate and axe-core found.
//
//     node check_page.cjs PAGE PROFILE CHROMIUM
//
// NODE_PATH names the folder of the packages playwright-core, html-validate and axe-core.
const { chromium } = require("playwright-core");
const { HtmlValidate } = require("html-validate");
const axe = require("axe-core");

const [page, profile, executablePath] = process.argv.slice(2);
const quiet = "--disable-quic --no-first-run --disable-background-networking --disable-sync";
const args = `--no-sandbox --disable-gpu --disable-component-update ${quiet}`.split(" ");

async function main() {
  const wrong = [];
  const rules = { extends: ["html-validate:standard", "html-validate:a11y"] };
  const report = await new HtmlValidate(rules).validateFile(page);
  for (const result of report.results)
    for (const one of result.messages) wrong.push(`html ${one.ruleId}: ${one.message}`);
  for (const bypassCSP of [false, true]) {
    const browser = await chromium.launchPersistentContext(`${profile}-${bypassCSP}`, {
      executablePath, args, bypassCSP, headless: true,
    });
    const tab = await browser.newPage();
    tab.on("console", (one) => wrong.push(`console: ${one.text()}`));
    tab.on("pageerror", (one) => wrong.push(`console: ${one}`));
    tab.on("request", (one) => one.url().startsWith("file:") || wrong.push(`asks: ${one.url()}`));
    for (const colorScheme of ["light", "dark"])
      for (const width of [390, 1280]) {
        await tab.setViewportSize({ width, height: 900 });
        await tab.emulateMedia({ colorScheme });
        await tab.goto(`file://${page}`);
        const wide = await tab.evaluate(() => document.documentElement.scrollWidth);
        if (wide > width) wrong.push(`it is ${wide} pixels wide in a window of ${width}`);
        if (!bypassCSP) continue; // axe is a script, which the page's policy forbids
        await tab.evaluate(() => document.querySelectorAll("details").forEach((one) => (one.open = true)));
        await tab.evaluate(axe.source);
        for (const one of (await tab.evaluate(() => axe.run())).violations)
          wrong.push(`axe ${one.id}, ${colorScheme}, ${width}: ${one.help}: ${one.nodes[0].html}`);
      }
    await tab.emulateMedia({ media: "print" });
    const hidden = await tab.evaluate(() =>
      [...document.querySelectorAll("details table")].filter((one) => !one.checkVisibility({ contentVisibilityAuto: true })).length);
    if (hidden) wrong.push(`${hidden} folded tables are hidden in print`);
    await browser.close();
  }
  console.log(JSON.stringify(wrong));
}

main();
