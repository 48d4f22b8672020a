# What Perl's parsers make of the notice on standard input, a line each: parts, status fields, bounces.
use strict;
use warnings;
use MIME::Parser;
use Mail::DeliveryStatus::BounceParser;

local $/;
my $text = <STDIN>;
$text =~ s/\r\n/\n/g;    # as a Unix mailbox has it

my $parser = MIME::Parser->new;
$parser->output_to_core(1);
$parser->tmp_to_core(1);
$parser->extract_nested_messages(1);
my $entity = $parser->parse_data($text);
print "type ", $entity->effective_type, "\n";
for my $part ($entity->parts) {
    print "part ", $part->effective_type, "\n";
    next unless $part->effective_type eq 'message/delivery-status';
    my $status = $part->bodyhandle ? $part->bodyhandle->as_string : join '', map { $_->as_string } $part->parts;
    $status =~ s/\n[ \t]+/ /g;
    print "field $_\n" for grep { /\S/ } split /\n/, $status;
}

my $bounce = Mail::DeliveryStatus::BounceParser->new($text);
print "bounce ", ($bounce->is_bounce ? 1 : 0), "\n";
print "message-id ", $bounce->orig_message_id || '', "\n";
for my $report ($bounce->reports) {
    print "report ", join(' ', map { $report->get($_) || '-' } 'email', 'std_reason', 'smtp_code'), "\n";
}
