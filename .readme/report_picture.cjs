// Takes the picture of one claim in a report, for README.md:
//
//     NODE_PATH=FOLDER/node_modules node .readme/report_picture.cjs PAGE ID FILE CHROMIUM
//
// FOLDER has the package playwright-core. PAGE is what `bnrun report` wrote. With 200 colours, as
// Pillow's `quantize` makes them, the picture has half the size.
const path = require("node:path");
const { chromium } = require("playwright-core");

const [page, id, file, executablePath] = process.argv.slice(2);

async function main() {
  const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
  const tab = await browser.newPage({ viewport: { width: 1000, height: 900 } });
  await tab.goto(`file://${path.resolve(page)}`);
  await tab.locator(`article[id="${id}"]`).screenshot({ path: file });
  await browser.close();
}

main();
