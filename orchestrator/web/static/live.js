// Draws the pairs anew every two seconds; what is open stays open. Without it the page reloads by itself.
"use strict";
const place = document.getElementById("live");
async function draw() {
  try {
    const answer = await fetch("/pairs", { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const open = [...place.querySelectorAll("details")].map((each) => each.open);
    const focused = [...place.querySelectorAll("summary")].indexOf(document.activeElement);
    place.innerHTML = await answer.text();
    place.querySelectorAll("details").forEach((each, index) => { each.open = open[index] || false; });
    if (focused >= 0) place.querySelectorAll("summary")[focused]?.focus();
    document.title = "mailmirror: " + place.querySelector("h1").textContent;
    place.classList.remove("gone");
  } catch {
    document.title = "mailmirror: no answer";
    const told = place.querySelector("h1");
    if (told) told.textContent = "The daemon doesn't answer; this is as it was.";
  }
}
setInterval(draw, 2000);
