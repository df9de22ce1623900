// An unrolled array: TH heads x TM output channels x TN input channels multiplied at once, for one
// token after another. Weights are held while the tokens pass and their successors come in behind
// them; an adder tree with a register at every level joins the TN products of a head's channel and
// adds what the accumulator buffer holds for the token.
module unrolled_array #(
    parameter TM = 4,
    parameter TN = 4,  // a power of two
    parameter TH = 1,
    parameter BITS = 8,
    parameter SUM = 32
) (
    input clock,
    input [TH*TN*BITS-1:0] weights,  // of the output channels that are loading
    input [TM-1:0] loading,
    input swap,                      // the weights that came in are the ones in use
    input [TH*TN*BITS-1:0] inputs,
    input [TH*TM*SUM-1:0] sums,      // 1 + log2(TN) edges after their token's inputs
    output reg [TH*TM*SUM-1:0] results
);
  localparam NODES = 2 * TN - 1;  // of a tree: its root first, its leaves last
  reg signed [BITS-1:0] coming[0:TH*TM*TN-1];
  reg signed [BITS-1:0] held[0:TH*TM*TN-1];
  reg signed [SUM-1:0] node[0:TH*TM*NODES-1];

  integer h, m, n, tree, pe;
  reg signed [BITS-1:0] value;
  always @(posedge clock)
    for (h = 0; h < TH; h = h + 1)
      for (m = 0; m < TM; m = m + 1) begin
        tree = (h * TM + m) * NODES;
        for (n = 0; n < TN; n = n + 1) begin
          pe = (h * TM + m) * TN + n;
          value = inputs[(h*TN+n)*BITS+:BITS];
          if (loading[m]) coming[pe] <= weights[(h*TN+n)*BITS+:BITS];
          if (swap) held[pe] <= coming[pe];
          node[tree+TN-1+n] <= held[pe] * value;
        end
        for (n = 0; n < TN - 1; n = n + 1)
          node[tree+n] <= node[tree+2*n+1] + node[tree+2*n+2];
        results[(h*TM+m)*SUM+:SUM] <= node[tree] + sums[(h*TM+m)*SUM+:SUM];
      end
endmodule
