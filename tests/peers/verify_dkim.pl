# Verifies the messages named on the command line with Mail::DKIM; keys from the file named first: "name TXT" lines.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::PublicKey;
my %keys;
open my $list, '<', shift or die;
while (<$list>) { chomp; my ($name, $record) = split / /, $_, 2; $keys{$name} = $record; }
{
    no warnings 'redefine';
    *Mail::DKIM::DNS::query = sub { return bless {txtdata => $keys{$_[0]}}, 'Answer' if $keys{$_[0]}; return; };
}
for my $path (@ARGV) {
    open my $in, '<:raw', $path or die;
    my $content = do { local $/; <$in> };
    my $verifier = Mail::DKIM::Verifier->new;
    $verifier->PRINT($content);
    $verifier->CLOSE;
    my @found = map { $_->domain . '=' . $_->result } $verifier->signatures;
    print "$path @found\n";
}

package Answer;
sub type { return 'TXT'; }
sub char_str_list { return $_[0]{txtdata}; }
sub txtdata { return $_[0]{txtdata}; }
