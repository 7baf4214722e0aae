export function TargetsPage() {
  return <div class="page"><h1>Targets</h1></div>;
}
