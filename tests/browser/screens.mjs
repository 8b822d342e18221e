// Looks at a screen as people do: at two widths, in light and dark, with axe for what not everybody can see. Pictures go where
// MILLRACE_SHOTS says, if it does.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
const WIDTHS = { wide: { width: 1280, height: 900 }, narrow: { width: 390, height: 844 } };

const found = [];

/** Notes what is wrong: a violation that axe finds, or a page that is wider than its window. */
export async function look(page, name) {
  const before = page.viewportSize();
  const already = found.length;
  for (const [width, size] of Object.entries(WIDTHS)) {
    for (const colorScheme of ["light", "dark"]) {
      await page.setViewportSize(size);
      await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
      const which = `${name}-${width}-${colorScheme}`;
      if (process.env.MILLRACE_SHOTS) await page.screenshot({ path: `${process.env.MILLRACE_SHOTS}/${which}.png`, fullPage: width === "narrow" });
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      if (over > 0) found.push(`${which}: ${over} px too wide`);
      if (!(await page.evaluate(() => "axe" in window))) await page.evaluate(AXE);
      const violations = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ["violations"] })).violations.map((v) => ({ id: v.id, nodes: v.nodes.map((n) => `${n.html.slice(0, 160)} :: ${n.failureSummary?.slice(0, 220)}`) })));
      for (const v of violations) found.push(`${which}: ${v.id}: ${v.nodes.slice(0, 4).join(" | ")}`);
    }
  }
  await page.setViewportSize(before);
  await page.emulateMedia({ colorScheme: null, reducedMotion: null });
  console.log(JSON.stringify({ saw: `looked at ${name}`, violations: found.length - already }));
}

/** Fails with all that was wrong. */
export function settle() {
  if (found.length > 0) throw new Error(found.join("\n"));
}
