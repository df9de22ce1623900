"""Does the unrolled array that is synthesised multiply?  Nothing else runs its Verilog."""

import shutil
import subprocess
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent / "rtl" / "unrolled_array.v"
BENCH = """\
module bench;
  reg clock = 0, swap = 0;
  reg [1:0] loading = 0;
  reg [63:0] weights = 0, inputs = 0;
  reg [127:0] sums = 0;
  wire [127:0] results;
  unrolled_array #(2, 4, 2, 8, 32) array (clock, weights, loading, swap, inputs, sums, results);
  task tick; begin #1 clock = 1; #1 clock = 0; end endtask
  integer token;
  initial begin
    weights = 64'h08070605_fc03fe01; loading = 1; tick;  // heads 1 and 0, channel 0
    weights = 64'h01010101_02020202; loading = 2; tick;  // channel 1
    loading = 0; swap = 1; tick; swap = 0;
    for (token = 0; token < 6; token = token + 1) begin
      inputs = {8{8'd1}} * (token + 1);
      sums = {4{32'd100}};
      tick;
      // Products after one edge, two levels of the tree, then the sum of before: four edges.
      if (token >= 3)
        $display("%0d %0d %0d %0d", $signed(results[31:0]), $signed(results[63:32]),
                 $signed(results[95:64]), $signed(results[127:96]));
    end
    $finish;
  end
endmodule
"""


@pytest.mark.skipif(not shutil.which("iverilog"), reason="iverilog not found")
def test_the_unrolled_array_multiplies_token_by_token(tmp_path: Path) -> None:
    bench = tmp_path / "bench.v"
    bench.write_text(BENCH)
    program = tmp_path / "bench.vvp"
    subprocess.run(["iverilog", "-g2012", "-s", "bench", "-o", program, bench, SOURCE], check=True)
    done = subprocess.run(["vvp", "-n", program], capture_output=True, text=True, check=True)
    rows = [[int(word) for word in line.split()] for line in done.stdout.splitlines()[:3]]
    # The weights of a channel add up to -2 and 8 for head 0, to 26 and 4 for head 1.
    assert rows == [[100 + t * w for w in (-2, 8, 26, 4)] for t in (1, 2, 3)]
